/** Draws what was seen over a clip that plays, on the very pictures that are shown. */

import type { SeenFrame } from '../domain/types';
import { contain } from '../live/fit';
import { paintOverlay } from '../live/paint';
import { boxesAt } from './seen';

/** Draws with every picture until it is disposed of. `frames` is asked each time. */
export class SeenOverlay {
  readonly #resized: ResizeObserver;
  #shownS = 0;
  #handle = 0;

  constructor(
    readonly video: HTMLVideoElement,
    readonly canvas: HTMLCanvasElement,
    readonly frames: () => readonly SeenFrame[],
    readonly nameOf: (label: string) => string,
  ) {
    this.#handle = video.requestVideoFrameCallback(this.#onFrame);
    this.#resized = new ResizeObserver(() => this.draw());
    this.#resized.observe(canvas);
  }

  dispose(): void {
    this.video.cancelVideoFrameCallback(this.#handle);
    this.#resized.disconnect();
  }

  draw(): void {
    const { canvas, video } = this;
    const context = canvas.getContext('2d');
    if (!context) return;
    const pixelRatio = window.devicePixelRatio || 1;
    const view = {
      width: Math.round(canvas.clientWidth * pixelRatio),
      height: Math.round(canvas.clientHeight * pixelRatio),
    };
    // Giving a canvas its size clears it, and costs: only where the size is another one.
    if (canvas.width !== view.width || canvas.height !== view.height) Object.assign(canvas, view);
    else context.clearRect(0, 0, view.width, view.height);
    const boxes = boxesAt(this.frames(), this.#shownS);
    const picture = contain({ width: video.videoWidth, height: video.videoHeight }, view);
    paintOverlay(context, { kind: 'exact', boxes }, { picture, pixelRatio, nameOf: this.nameOf });
    canvas.dataset.boxes = String(boxes.length);
  }

  readonly #onFrame = (_: number, frame: VideoFrameCallbackMetadata) => {
    this.#shownS = frame.mediaTime;
    this.draw();
    this.#handle = this.video.requestVideoFrameCallback(this.#onFrame);
  };
}
