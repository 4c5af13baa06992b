/** Who is hidden in evidence. */

export const HIDES = ['off', 'persons', 'heads'] as const;
export type Hide = (typeof HIDES)[number];

export const STYLES = ['mosaic', 'fill'] as const;
export type HideStyle = (typeof STYLES)[number];

export interface Anonymisation {
  readonly hide: Hide;
  /** Of single cameras, where they differ. */
  readonly cameras: Readonly<Record<string, Hide>>;
  readonly style: HideStyle;
  readonly keepAudio: boolean;
  readonly classes: readonly string[];
}

/** The API's own bounds, so that a person learns of them before sending. */
export const MIN_REASON = 3;
export const MAX_REASON = 200;
export const REVEAL_MINUTES = [5, 10, 30, 60] as const;
