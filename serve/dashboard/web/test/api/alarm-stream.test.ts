import { describe, expect, it } from 'vitest';
import { followAlarms, type StreamState } from '../../src/api/alarm-stream';
import { Backoff } from '../../src/api/backoff';
import { ApiError } from '../../src/api/errors';
import type { DecodeError } from '../../src/domain/decode';
import { alarmJson } from '../samples';

type Connection = string | Error | 'hang';

/** A server that gives one connection after the other, then lets the follower be stopped. */
async function follow(connections: Connection[], silenceMs?: number) {
  const abort = new AbortController();
  const asked: string[] = [];
  const alarms: string[] = [];
  const states: StreamState[] = [];
  const bad: DecodeError[] = [];
  const waits: number[] = [];
  let gaps = 0;
  await followAlarms({
    open: async (lastEventId, signal) => {
      asked.push(lastEventId);
      const next = connections.shift();
      if (next === undefined) {
        abort.abort();
        throw new DOMException('aborted', 'AbortError');
      }
      if (next instanceof Error) throw next;
      return streamOf(next, signal);
    },
    onAlarm: (alarm) => alarms.push(alarm.id),
    onGap: () => {
      gaps += 1;
    },
    onState: (state) => states.push(state),
    onBadEvent: (error) => bad.push(error),
    signal: abort.signal,
    backoff: new Backoff({ initialMs: 100, maxMs: 1_000, random: () => 0 }),
    sleep: async (ms) => {
      waits.push(ms);
    },
    ...(silenceMs === undefined ? {} : { silenceMs }),
  });
  return { asked, alarms, states, bad, waits, gaps };
}

function streamOf(text: string, signal: AbortSignal): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      if (text !== 'hang') {
        controller.enqueue(new TextEncoder().encode(text));
        controller.close();
        return;
      }
      signal.addEventListener('abort', () => controller.error(signal.reason));
    },
  });
}

const event = (id: string, streamId: string) =>
  `event: alarm\r\nid: ${streamId}\r\ndata: ${JSON.stringify(alarmJson({ id }))}\r\n\r\n`;

describe('followAlarms', () => {
  it('resumes after the last id that it saw', async () => {
    const seen = await follow([event('a', '1-0') + event('b', '2-0'), event('c', '3-0')]);
    expect(seen.alarms).toEqual(['a', 'b', 'c']);
    expect(seen.asked).toEqual(['', '2-0', '3-0']);
  });

  it('resumes from where the stream began when it breaks before the first alarm', async () => {
    const seen = await follow(['id: 9-0\n\n', event('a', '10-0')]);
    expect(seen.asked).toEqual(['', '9-0', '10-0']);
  });

  it('asks again for an event that was cut off after its id', async () => {
    const seen = await follow([event('a', '1-0') + 'id: 2-0\nevent: alarm\n', event('b', '2-0')]);
    expect(seen.asked).toEqual(['', '1-0', '2-0']);
    expect(seen.alarms).toEqual(['a', 'b']);
  });

  it('waits longer from failure to failure, and anew after a success', async () => {
    const down = new ApiError('unavailable');
    const seen = await follow([down, down, down, event('a', '1-0'), down]);
    expect(seen.waits).toEqual([50, 100, 200, 50, 100]);
    expect(seen.alarms).toEqual(['a']);
  });

  it('comes back after a lost connection', async () => {
    const seen = await follow([new TypeError('network error'), event('a', '1-0')]);
    expect(seen.alarms).toEqual(['a']);
  });

  it('stops where the key is refused', async () => {
    const seen = await follow([new ApiError('unauthorized'), event('a', '1-0')]);
    expect(seen.states).toEqual(['connecting', 'refused']);
    expect(seen.alarms).toEqual([]);
  });

  it('tells an event that cannot be read, and goes on behind it', async () => {
    const broken = 'event: alarm\nid: 1-0\ndata: {nonsense\n\nevent: alarm\nid: 2-0\ndata: {}\n\n';
    const seen = await follow([broken + event('a', '3-0')]);
    expect(seen.bad).toHaveLength(2);
    expect(seen.alarms).toEqual(['a']);
    expect(seen.asked.at(-1)).toBe('3-0');
  });

  it('gives up a connection that has fallen silent', async () => {
    const seen = await follow(['hang', event('a', '1-0')], 20);
    expect(seen.alarms).toEqual(['a']);
  });

  it('tells where alarms are missing, and keeps its place', async () => {
    const seen = await follow([event('a', '1-0'), `event: gap\ndata: {}\n\n${event('b', '9-0')}`]);
    expect(seen.gaps).toBe(1);
    expect(seen.asked).toEqual(['', '1-0', '9-0']);
  });

  it('waits at least as long as the server asks', async () => {
    const seen = await follow([`retry: 2000\n${event('a', '1-0')}`, event('b', '2-0')]);
    expect(seen.waits).toEqual([2_000, 2_000]);
  });

  it('ignores events of another type', async () => {
    const seen = await follow([`event: ping\ndata: 12:00\n\n${event('a', '1-0')}`]);
    expect(seen.alarms).toEqual(['a']);
    expect(seen.bad).toEqual([]);
  });
});
