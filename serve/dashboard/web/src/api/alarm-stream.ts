/** Follows the tenant's alarm stream for as long as the page lives: resumes, waits, resumes again. */

import { DecodeError, decodeAlarm } from '../domain/decode';
import type { Alarm } from '../domain/types';
import { Backoff, sleep as realSleep } from './backoff';
import { ApiError } from './errors';
import { type ServerEvent, SseParser } from './sse';

/** The server sends a comment every 15 s at the latest; three missed ones mean a dead connection. */
const SILENCE_MS = 45_000;

export type StreamState = 'connecting' | 'open' | 'waiting' | 'refused';

export interface Connection {
  /** Opens the stream after the event with this id; '' means from now on. */
  readonly open: (lastEventId: string, signal: AbortSignal) => Promise<ReadableStream<Uint8Array>>;
  readonly signal: AbortSignal;
  readonly backoff?: Backoff;
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly silenceMs?: number;
}

export interface Listener {
  readonly onAlarm: (alarm: Alarm) => void;
  /** The stream no longer reaches back to where we were: alarms are missing in between. */
  readonly onGap: () => void;
  readonly onState: (state: StreamState) => void;
  /** An event that could not be read: told, skipped, and not asked for again. */
  readonly onBadEvent: (error: DecodeError) => void;
}

export type FollowOptions = Connection & Listener;

/** What came at once. */
export interface Batch {
  /** The place in the stream before it; '' where the stream has just been opened from now on. */
  readonly after: string;
  /** The place to resume from once it has been read. */
  readonly id: string;
  /** None where it is only a sign of life. */
  readonly events: readonly ServerEvent[];
}

export interface EventOptions extends Connection {
  /** The id of the last event that was read before. */
  readonly from?: string;
  readonly onBatch: (batch: Batch) => void;
  readonly onState: (state: StreamState) => void;
}

interface Position {
  /** Of the last event that was read. */
  id: string;
  /** The least wait before a reconnect, as the server asks. */
  retryMs: number;
}

/** Returns when the signal aborts, or when the API refuses the key. */
export async function followAlarms(options: FollowOptions): Promise<void> {
  await followEvents({
    ...options,
    onBatch: ({ events }) => {
      for (const event of events) readEvent(event, options);
    },
  });
}

/** As `followAlarms`, with the events as they come. */
export async function followEvents(options: EventOptions): Promise<void> {
  const { signal, onState, sleep = realSleep } = options;
  const backoff = options.backoff ?? new Backoff({ initialMs: 500, maxMs: 15_000 });
  const position: Position = { id: options.from ?? '', retryMs: 0 };
  while (!signal.aborted) {
    onState('connecting');
    try {
      await readOnce(options, position, () => {
        backoff.reset();
        onState('open');
      });
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError && !error.retryable) {
        onState('refused');
        return;
      }
      if (!(error instanceof ApiError || isConnectionLoss(error))) throw error;
    }
    if (signal.aborted) return;
    onState('waiting');
    await sleep(Math.max(backoff.nextMs(), position.retryMs), signal);
  }
}

/** One connection, from its opening to its end. `position` moves with each event. */
async function readOnce(
  options: EventOptions,
  position: Position,
  onOpen: () => void,
): Promise<void> {
  const watchdog = new AbortController();
  const signal = AbortSignal.any([options.signal, watchdog.signal]);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const alive = () => {
    clearTimeout(timer);
    timer = setTimeout(() => watchdog.abort(), options.silenceMs ?? SILENCE_MS);
  };
  alive();
  try {
    const stream = await options.open(position.id, signal);
    onOpen();
    const parser = new SseParser(position.id);
    const reader = stream.pipeThrough(utf8Decoder(), { signal }).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      alive();
      const events = parser.push(value);
      // Not from the events: the opening one has an id and no data, and is where to resume from.
      options.onBatch({ after: position.id, id: parser.lastEventId, events });
      position.id = parser.lastEventId;
      position.retryMs = parser.retryMs ?? position.retryMs;
    }
  } finally {
    clearTimeout(timer);
  }
}

function utf8Decoder(): ReadableWritablePair<string, Uint8Array> {
  // lib.dom types the writable side as BufferSource, which a Uint8Array is.
  return new TextDecoderStream() as unknown as ReadableWritablePair<string, Uint8Array>;
}

/** Tells the listener what an event says; one of another type is passed over. */
export function readEvent(event: ServerEvent, listener: Listener): void {
  if (event.type === 'gap') listener.onGap();
  if (event.type !== 'alarm') return;
  try {
    listener.onAlarm(decodeAlarm(JSON.parse(event.data)));
  } catch (error) {
    if (error instanceof DecodeError) listener.onBadEvent(error);
    else if (error instanceof SyntaxError) listener.onBadEvent(new DecodeError(error.message));
    else throw error;
  }
}

/** fetch and its streams report a lost or aborted connection as TypeError or DOMException. */
function isConnectionLoss(error: unknown): boolean {
  return error instanceof TypeError || error instanceof DOMException;
}
