/**
 * Shows one camera: takes each video frame as the browser has it ready, holds it back for the time
 * that its boxes need, then paints frame and boxes together on one canvas. Since both are painted
 * in the same task, a box can never be seen on another frame than the one it was matched with.
 */

import type { RemoteVideoTrack } from 'livekit-client';
import { type Analysed, decodeDetections } from './detections';
import { contain } from './fit';
import { FrameRing, type HeldFrame } from './frame-ring';
import { HoldBack } from './holdback';
import { MatchStats } from './match-stats';
import { DetectionLog, NO_OVERLAY, type Overlay, overlayFor } from './overlay';
import { paintOverlay } from './paint';
import { onEachRepaint } from './ticker';

/** Boxes may stay this long after their frame: three analysed frames at 5 per second. */
const MAX_BOX_AGE_US = 600_000;
/** A 4K canvas per tile would cost more than anyone can see in a grid. */
const MAX_CANVAS_WIDTH = 1920;
const MAX_PIXEL_RATIO = 2;

export interface PlayerStats {
  readonly shown: number;
  readonly passedOver: number;
  /** Frames whose capture time is known, of those shown. */
  readonly stamped: number;
  readonly exact: number;
  readonly late: number;
  readonly unseen: number;
  readonly exactFraction: number | null;
  readonly overlay: Overlay['kind'];
  readonly boxes: number;
  readonly holdMs: number;
  readonly latenessP50Ms: number | null;
  readonly latenessP95Ms: number | null;
  readonly width: number;
  readonly height: number;
  /** Shown frames per second, over the last second or so. */
  readonly fps: number;
  /** performance.now() of the last shown frame. */
  readonly lastShownMs: number;
}

interface VideoPicture extends HeldFrame {
  readonly image: VideoFrame;
  readonly rtpTimestamp: number | null;
  captureUs: number | null;
}

export class Player {
  readonly #video: HTMLVideoElement;
  readonly #canvas: HTMLCanvasElement;
  readonly #context: CanvasRenderingContext2D;
  readonly #nameOf: (label: string) => string;
  readonly #ring = new FrameRing<VideoPicture>();
  readonly #log = new DetectionLog();
  readonly #hold = new HoldBack();
  readonly #stats = new MatchStats((ms) => this.#hold.observe(ms));
  readonly #resizes: ResizeObserver;
  readonly #stopTicking: () => void;
  #track: RemoteVideoTrack | null = null;
  #callback = 0;
  #last: VideoPicture | null = null;
  #overlay: Overlay = NO_OVERLAY;
  #shown = 0;
  #stamped = 0;
  #lastShownMs = 0;
  #recent: number[] = [];
  #view = { width: 0, height: 0, pixelRatio: 1 };
  #disposed = false;

  constructor(
    video: HTMLVideoElement,
    canvas: HTMLCanvasElement,
    nameOf: (label: string) => string,
  ) {
    const context = canvas.getContext('2d', { alpha: false });
    if (!context) throw new Error('this browser gives no 2D canvas');
    this.#video = video;
    this.#canvas = canvas;
    this.#context = context;
    this.#nameOf = nameOf;
    this.#resizes = new ResizeObserver(() => this.#resize());
    this.#resizes.observe(canvas);
    this.#stopTicking = onEachRepaint((nowMs) => this.#tick(nowMs));
  }

  attach(track: RemoteVideoTrack): void {
    this.detach();
    this.#track = track;
    track.attach(this.#video);
    this.#listen();
  }

  /** Lets go of the track; the last picture stays. */
  detach(): void {
    if (this.#callback) this.#video.cancelVideoFrameCallback(this.#callback);
    this.#callback = 0;
    this.#track?.detach(this.#video);
    this.#track = null;
    this.#ring.clear();
    this.#log.clear();
    this.#stats.forget();
    this.#hold.reset();
  }

  /** One frame of the data track. */
  receive(payload: Uint8Array): void {
    const analysed: Analysed | null = decodeDetections(payload);
    if (!analysed) return;
    this.#log.add(analysed);
    this.#stats.arrived(analysed.captureUs, performance.now());
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#stopTicking();
    this.#resizes.disconnect();
    this.detach();
    this.#last?.close();
    this.#last = null;
  }

  get stats(): PlayerStats {
    return {
      shown: this.#shown,
      passedOver: this.#ring.passedOver,
      stamped: this.#stamped,
      ...this.#stats.counts,
      exactFraction: this.#stats.exactFraction,
      overlay: this.#overlay.kind,
      boxes: this.#overlay.boxes.length,
      holdMs: this.#hold.currentMs,
      latenessP50Ms: this.#hold.latenessMs(0.5),
      latenessP95Ms: this.#hold.latenessMs(0.95),
      width: this.#video.videoWidth,
      height: this.#video.videoHeight,
      fps: this.#fps(performance.now()),
      lastShownMs: this.#lastShownMs,
    };
  }

  /** Class names seen on this camera lately: a rule's first suggestions. */
  get labels(): readonly string[] {
    return [...new Set(this.#log.latest?.tracks.map((track) => track.label) ?? [])];
  }

  /** The picture that is shown now, without boxes; null before the first. */
  get picture(): VideoFrame | null {
    return this.#last?.image ?? null;
  }

  #listen(): void {
    this.#callback = this.#video.requestVideoFrameCallback((nowMs, metadata) => {
      this.#callback = 0;
      if (!this.#track) return;
      this.#grab(nowMs, metadata.rtpTimestamp ?? null);
      this.#listen();
    });
  }

  #grab(nowMs: number, rtpTimestamp: number | null): void {
    let image: VideoFrame;
    try {
      image = new VideoFrame(this.#video, { timestamp: Math.round(nowMs * 1000) });
    } catch (error) {
      // The track ended between the callback and here: there is no frame to take.
      if (error instanceof DOMException && error.name === 'InvalidStateError') return;
      throw error;
    }
    const picture: VideoPicture = {
      image,
      presentedMs: nowMs,
      rtpTimestamp,
      captureUs: null,
      close: () => image.close(),
    };
    this.#stamp(picture);
    this.#ring.push(picture);
  }

  /** Looks the capture time up. The worker's message may come a moment after the frame. */
  #stamp(picture: VideoPicture): void {
    if (picture.captureUs !== null || picture.rtpTimestamp === null) return;
    const found = this.#track?.lookupFrameMetadata({ rtpTimestamp: picture.rtpTimestamp });
    if (!found) return;
    picture.captureUs = Number(found.userTimestamp);
    this.#stats.presented(picture.captureUs, picture.presentedMs);
  }

  #tick(nowMs: number): void {
    const picture = this.#ring.take(nowMs - this.#hold.currentMs);
    if (!picture) return;
    this.#last?.close();
    this.#last = picture;
    this.#stamp(picture);
    this.#overlay = overlayFor(this.#log, picture.captureUs, MAX_BOX_AGE_US);
    this.#paint();
    this.#hold.step();
    this.#shown += 1;
    this.#lastShownMs = nowMs;
    this.#recent.push(nowMs);
    if (this.#recent.length > 60) this.#recent.shift();
    if (picture.captureUs === null) return;
    this.#stamped += 1;
    this.#stats.shown(picture.captureUs, this.#overlay.kind === 'exact');
  }

  #paint(): void {
    const { width, height, pixelRatio } = this.#view;
    if (!this.#last || width === 0 || height === 0) return;
    const { image } = this.#last;
    const rect = contain({ width: image.displayWidth, height: image.displayHeight }, this.#view);
    this.#context.fillStyle = '#000';
    this.#context.fillRect(0, 0, width, height);
    this.#context.drawImage(image, rect.x, rect.y, rect.width, rect.height);
    paintOverlay(this.#context, this.#overlay, { picture: rect, pixelRatio, nameOf: this.#nameOf });
  }

  /** The canvas has as many pixels as the screen shows of it; resizing empties it, so repaint. */
  #resize(): void {
    const { clientWidth, clientHeight } = this.#canvas;
    if (clientWidth === 0 || clientHeight === 0) return;
    const pixelRatio = Math.min(
      window.devicePixelRatio,
      MAX_PIXEL_RATIO,
      MAX_CANVAS_WIDTH / clientWidth,
    );
    const width = Math.round(clientWidth * pixelRatio);
    const height = Math.round(clientHeight * pixelRatio);
    if (width === this.#view.width && height === this.#view.height) return;
    this.#view = { width, height, pixelRatio };
    this.#canvas.width = width;
    this.#canvas.height = height;
    this.#paint();
  }

  #fps(nowMs: number): number {
    const recent = this.#recent.filter((ms) => nowMs - ms <= 1_000);
    const [first] = recent;
    const last = recent.at(-1);
    if (first === undefined || last === undefined || last === first) return 0;
    return ((recent.length - 1) * 1_000) / (last - first);
  }
}
