/** Draws boxes with their names on a canvas, over the picture that is already there. */

import { classColor } from './colors';
import type { TrackBox } from './detections';
import type { Rect } from './fit';
import type { Overlay } from './overlay';

export interface PaintOptions {
  /** Where the picture lies, in canvas pixels. */
  readonly picture: Rect;
  /** Canvas pixels per CSS pixel. */
  readonly pixelRatio: number;
  readonly nameOf: (label: string) => string;
}

/** Boxes that were not computed on this very frame are drawn fainter; those of no known frame dashed too. */
const ALPHA = { exact: 1, between: 0.85, predicted: 0.75, held: 0.45, none: 0 } as const;
const LABEL_MIN_WIDTH = 34;

export function paintOverlay(
  canvas: CanvasRenderingContext2D,
  overlay: Overlay,
  options: PaintOptions,
): void {
  if (overlay.boxes.length === 0) return;
  canvas.save();
  canvas.globalAlpha = ALPHA[overlay.kind];
  canvas.lineJoin = 'round';
  if (overlay.kind === 'held') {
    canvas.setLineDash([6 * options.pixelRatio, 4 * options.pixelRatio]);
  }
  for (const track of overlay.boxes) paintBox(canvas, track, options);
  canvas.restore();
}

function paintBox(
  canvas: CanvasRenderingContext2D,
  track: TrackBox,
  { picture, pixelRatio, nameOf }: PaintOptions,
): void {
  const [x1, y1, x2, y2] = track.box;
  const x = picture.x + x1 * picture.width;
  const y = picture.y + y1 * picture.height;
  const width = (x2 - x1) * picture.width;
  const height = (y2 - y1) * picture.height;
  const color = classColor(track.label);
  // A dark line beneath keeps the box readable on a bright picture.
  canvas.lineWidth = 3.5 * pixelRatio;
  canvas.strokeStyle = 'rgba(0, 0, 0, 0.45)';
  canvas.strokeRect(x, y, width, height);
  canvas.lineWidth = 1.75 * pixelRatio;
  canvas.strokeStyle = color;
  canvas.strokeRect(x, y, width, height);
  if (width < LABEL_MIN_WIDTH * pixelRatio) return;
  paintLabel(canvas, `${nameOf(track.label)} ${Math.round(track.confidence * 100)}%`, {
    x,
    y,
    color,
    picture,
    pixelRatio,
  });
}

function paintLabel(
  canvas: CanvasRenderingContext2D,
  text: string,
  at: { x: number; y: number; color: string; picture: Rect; pixelRatio: number },
): void {
  const size = 11 * at.pixelRatio;
  const pad = 4 * at.pixelRatio;
  const height = size + pad * 1.5;
  canvas.font = `600 ${size}px system-ui, sans-serif`;
  const width = canvas.measureText(text).width + pad * 2;
  const half = 0.875 * at.pixelRatio;
  const right = at.picture.x + at.picture.width;
  const left = Math.max(at.picture.x, Math.min(at.x - half, right - width));
  // Above the box where there is room, else inside it.
  const top = at.y - height >= at.picture.y ? at.y - height : at.y;
  canvas.fillStyle = at.color;
  canvas.beginPath();
  canvas.roundRect(left, top, width, height, 3 * at.pixelRatio);
  canvas.fill();
  canvas.fillStyle = '#0b1220';
  canvas.textBaseline = 'middle';
  canvas.fillText(text, left + pad, top + height / 2 + half / 2);
}
