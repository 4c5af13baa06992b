import { describe, expect, it } from 'vitest';
import { SseParser } from '../../src/api/sse';

const all = (...chunks: string[]) => {
  const parser = new SseParser();
  return chunks.flatMap((chunk) => parser.push(chunk));
};

describe('SseParser', () => {
  it.each([
    ['LF', 'event: alarm\nid: 1-0\ndata: {"a":1}\n\n'],
    ['CRLF', 'event: alarm\r\nid: 1-0\r\ndata: {"a":1}\r\n\r\n'],
    ['CR', 'event: alarm\rid: 1-0\rdata: {"a":1}\r\r:\n'],
    ['a byte order mark', '\uFEFFevent: alarm\nid: 1-0\ndata: {"a":1}\n\n'],
    ['no space after the colon', 'event:alarm\nid:1-0\ndata:{"a":1}\n\n'],
  ])('reads an event with %s', (_, stream) => {
    expect(all(stream)).toEqual([{ type: 'alarm', data: '{"a":1}', lastEventId: '1-0' }]);
  });

  it('gives the same events however the stream is cut', () => {
    const stream = ': hi\r\nevent: alarm\r\nid: 7-1\r\ndata: a\r\ndata: b\r\n\r\ndata: c\n\n';
    const whole = all(stream);
    expect(whole).toEqual([
      { type: 'alarm', data: 'a\nb', lastEventId: '7-1' },
      { type: 'message', data: 'c', lastEventId: '7-1' },
    ]);
    for (let size = 1; size < stream.length; size += 1) {
      const chunks: string[] = [];
      for (let i = 0; i < stream.length; i += size) chunks.push(stream.slice(i, i + size));
      expect(all(...chunks)).toEqual(whole);
    }
  });

  it('skips comments, unknown fields, and events without data', () => {
    expect(all(': ping\n\n', 'event: alarm\n\n', 'colour: red\ndata: x\n\n')).toEqual([
      { type: 'message', data: 'x', lastEventId: '' },
    ]);
  });

  it('keeps the last id, also of an event without data, and ignores one with a NUL', () => {
    const parser = new SseParser('5-0');
    expect(parser.lastEventId).toBe('5-0');
    parser.push('id: 6-0\n\n');
    expect(parser.lastEventId).toBe('6-0');
    parser.push('id: 7\0\n\n');
    expect(parser.lastEventId).toBe('6-0');
  });

  it('takes a retry in digits only', () => {
    const parser = new SseParser();
    parser.push('retry: 2500\n');
    parser.push('retry: soon\n');
    expect(parser.retryMs).toBe(2500);
  });

  it('holds back an event that has not ended', () => {
    expect(all('data: half')).toEqual([]);
  });
});
