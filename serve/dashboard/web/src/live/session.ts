/** One camera's room: joins with a fresh token, subscribes, and comes back after every loss. */

import {
  DefaultReconnectPolicy,
  type RemoteDataTrack,
  type RemoteTrack,
  type RemoteTrackPublication,
  RemoteVideoTrack,
  Room,
  RoomEvent,
  setLogLevel,
  Track,
} from 'livekit-client';
import FrameMetadataWorker from 'livekit-client/frame-metadata-worker?worker';
import { Backoff, sleep } from '../api/backoff';
import { ApiError } from '../api/errors';
import type { JoinGrant } from '../domain/types';

/** Names that the cluster gives (cluster/core/names.py). */
const MAIN_TRACK = 'main';
const DETECTIONS_TRACK = 'detections';

/**
 * The client's own tries to mend a lost connection, in milliseconds. After them we join anew, with a
 * fresh token, for as long as it takes: a restarted server does not know the old session anyway.
 */
const MEND_DELAYS_MS = [0, 300, 1_200, 2_700];

setLogLevel('warn');

export type LinkState = 'joining' | 'connected' | 'reconnecting' | 'waiting' | 'refused' | 'closed';

export interface SessionSink {
  video(track: RemoteVideoTrack): void;
  videoGone(): void;
  detections(payload: Uint8Array): void;
  link(state: LinkState): void;
}

/** Starts at once; `close` ends it. */
export class LiveSession {
  readonly #abort = new AbortController();
  readonly #join: (signal: AbortSignal) => Promise<JoinGrant>;
  readonly #sink: SessionSink;
  #room: Room | null = null;

  constructor(join: (signal: AbortSignal) => Promise<JoinGrant>, sink: SessionSink) {
    this.#join = join;
    this.#sink = sink;
    void this.#run();
  }

  close(): void {
    this.#abort.abort();
  }

  /** Leaves the room that it is in, and joins anew after the usual wait. */
  rejoin(): void {
    void this.#room?.disconnect();
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort;
    const backoff = new Backoff({ initialMs: 500, maxMs: 15_000 });
    while (!signal.aborted) {
      this.#sink.link('joining');
      try {
        await this.#connectOnce(backoff);
      } catch (error) {
        if (signal.aborted) break;
        if (error instanceof ApiError && !error.retryable) {
          this.#sink.link('refused');
          return;
        }
        console.info('camera room lost, trying again', error);
      }
      if (signal.aborted) break;
      this.#sink.link('waiting');
      await sleep(backoff.nextMs(), signal);
    }
    this.#sink.link('closed');
  }

  /** Joins and stays until the room is lost or this session is closed. */
  async #connectOnce(backoff: Backoff): Promise<void> {
    const { signal } = this.#abort;
    const grant = await this.#join(signal);
    const worker = new FrameMetadataWorker();
    const room = new Room({
      frameMetadata: { worker },
      // Cameras publish one layer, and the page itself decides which rooms it is in.
      adaptiveStream: false,
      dynacast: false,
      disconnectOnPageLeave: true,
      reconnectPolicy: new DefaultReconnectPolicy(MEND_DELAYS_MS),
    });
    this.#room = room;
    const leave = () => void room.disconnect();
    signal.addEventListener('abort', leave, { once: true });
    try {
      const lost = this.#listen(room);
      await room.connect(grant.url, grant.token, { autoSubscribe: false });
      if (signal.aborted) return;
      backoff.reset();
      this.#sink.link('connected');
      for (const participant of room.remoteParticipants.values()) {
        for (const publication of participant.trackPublications.values()) subscribe(publication);
      }
      await lost;
    } finally {
      signal.removeEventListener('abort', leave);
      this.#room = null;
      await room.disconnect();
      worker.terminate();
      this.#sink.videoGone();
    }
  }

  /** Wires the room to the sink; resolves when the room is lost for good. */
  #listen(room: Room): Promise<void> {
    const sink = this.#sink;
    room
      .on(RoomEvent.TrackPublished, subscribe)
      .on(RoomEvent.TrackSubscribed, (track: RemoteTrack) => {
        if (track instanceof RemoteVideoTrack) sink.video(track);
      })
      .on(RoomEvent.TrackUnsubscribed, (track: RemoteTrack) => {
        if (track instanceof RemoteVideoTrack) sink.videoGone();
      })
      .on(RoomEvent.DataTrackPublished, (track: RemoteDataTrack) => {
        if (track.info.name === DETECTIONS_TRACK) void this.#read(track);
      })
      .on(RoomEvent.SignalReconnecting, () => sink.link('reconnecting'))
      .on(RoomEvent.Reconnecting, () => sink.link('reconnecting'))
      .on(RoomEvent.Reconnected, () => sink.link('connected'));
    return new Promise((resolve) => {
      room.once(RoomEvent.Disconnected, () => resolve());
    });
  }

  async #read(track: RemoteDataTrack): Promise<void> {
    const reader = track.subscribe({ signal: this.#abort.signal }).getReader();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        this.#sink.detections(value.payload);
      }
    } catch (error) {
      // The stream ends with an error when its publisher or the room goes; the video goes on.
      if (!this.#abort.signal.aborted) console.info('detections ended', error);
    }
  }
}

/** The camera's picture only: the small sub-stream is for the detector. */
function subscribe(publication: RemoteTrackPublication): void {
  if (publication.kind === Track.Kind.Video && publication.trackName === MAIN_TRACK) {
    publication.setSubscribed(true);
  }
}
