import { describe, expect, it } from 'vitest';
import { mergeAlarms } from '../../src/domain/alarm-list';
import { cameraDraftProblem, toNewCamera } from '../../src/domain/camera-form';
import {
  DecodeError,
  decodeAlarm,
  decodeCamera,
  decodeCameras,
  decodeMatches,
  decodeObjects,
  decodeRule,
} from '../../src/domain/decode';
import { slugOf } from '../../src/domain/slug';
import { alarmJson, cameraJson, objectJson } from '../samples';

describe('decode', () => {
  it('reads an alarm', () => {
    expect(decodeAlarm(alarmJson())).toMatchObject({
      label: 'person',
      atMs: Date.UTC(2026, 0, 2, 3, 4, 5, 678),
      acknowledged: false,
      totalLatencyMs: 63.2,
    });
  });

  it('reads an alarm without what may be missing', () => {
    const sparse = alarmJson({ snapshot: null, latency_ms: null, box: null });
    expect(decodeAlarm(sparse)).toMatchObject({ snapshot: null, totalLatencyMs: null, box: null });
  });

  it('reads an object, and leaves out a colour that it does not know', () => {
    const [red, odd] = decodeObjects({
      objects: [objectJson({ colour: 'red' }), objectJson({ colour: 'puce', snapshot: null })],
    });
    expect(red).toEqual({
      camera: 'gate',
      label: 'person',
      colour: 'red',
      firstSeenMs: Date.UTC(2026, 0, 2, 3, 4, 5),
      lastSeenMs: Date.UTC(2026, 0, 2, 3, 4, 9),
      track: '19ab-8c-0-person',
      snapshot: '/v1/snapshots/objects/gate/0.jpg',
    });
    expect(odd).toMatchObject({ colour: null, snapshot: null });
  });

  it('reads a camera of which nothing is measured yet', () => {
    const camera = decodeCamera(cameraJson({ stats: null, state: 'connecting' }));
    expect(camera).toMatchObject({ fps: null, width: null, state: 'connecting' });
  });

  it.each([
    ['a list for an object', () => decodeAlarm([])],
    ['an alarm without time', () => decodeAlarm(alarmJson({ at: 'yesterday' }))],
    ['an alarm without id', () => decodeAlarm(alarmJson({ id: 7 }))],
    ['an unknown state', () => decodeCamera(cameraJson({ state: 'asleep' }))],
    ['cameras that are no list', () => decodeCameras({ cameras: {} })],
    ['matches that are missing', () => decodeMatches({})],
    ['an object without a track', () => decodeObjects({ objects: [objectJson({ track: 7 })] })],
    ['an unknown rule', () => decodeRule({ id: 'a', kind: 'guess', polygon: [] })],
    ['a zone without corners', () => decodeRule({ id: 'a', kind: 'loiter' })],
    ['a corner of text', () => decodeRule({ id: 'a', kind: 'loiter', polygon: [['0', 1]] })],
  ])('refuses %s', (_, decode) => {
    expect(decode).toThrow(DecodeError);
  });
});

describe('mergeAlarms', () => {
  const alarm = (id: string, second: number, state = 'new') =>
    decodeAlarm(alarmJson({ id, state, at: `2026-01-02T03:04:0${second}Z` }));

  it('puts the newest first, each once', () => {
    const merged = mergeAlarms([alarm('a', 1)], [alarm('c', 3), alarm('b', 2), alarm('a', 1)]);
    expect(merged.map((a) => a.id)).toEqual(['c', 'b', 'a']);
  });

  it('keeps what was acknowledged when the stream tells it again', () => {
    const merged = mergeAlarms([alarm('a', 1, 'acknowledged')], [alarm('a', 1)]);
    expect(merged[0]?.acknowledged).toBe(true);
  });

  it('takes over what was acknowledged elsewhere', () => {
    const merged = mergeAlarms([alarm('a', 1)], [alarm('a', 1, 'acknowledged')]);
    expect(merged[0]?.acknowledged).toBe(true);
  });

  it('is bounded, and drops the oldest', () => {
    const merged = mergeAlarms([alarm('a', 1), alarm('b', 2)], [alarm('c', 3)], 2);
    expect(merged.map((a) => a.id)).toEqual(['c', 'b']);
  });
});

describe('slugOf', () => {
  it.each([
    ['Front gate', 'front-gate'],
    ['  Portão – Saída 2 ', 'portao-saida-2'],
    ['???', ''],
    [`${'a'.repeat(39)} b`, 'a'.repeat(39)],
  ])('of %j is %j', (name, slug) => {
    expect(slugOf(name)).toBe(slug);
  });
});

describe('a new camera', () => {
  const draft = { name: 'Gate', id: 'gate', url: 'rtsp://u:p@ss@h/1', substream: '' };

  it.each([
    [{}, null],
    [{ id: '' }, 'id'],
    [{ id: '-gate' }, 'id'],
    [{ id: 'Gate' }, 'id'],
    [{ id: 'a'.repeat(41) }, 'id'],
    [{ url: 'http://h/x' }, null],
    [{ url: 'h/x' }, 'url'],
    [{ url: 'file:///etc/passwd' }, 'url'],
    [{ substream: 'nope' }, 'substream'],
    [{ substream: 'rtsp://h/2' }, null],
  ])('with %j: %s', (changes, problem) => {
    expect(cameraDraftProblem({ ...draft, ...changes })).toBe(problem);
  });

  it('leaves an empty sub-stream out, and names it by its id', () => {
    expect(toNewCamera({ ...draft, name: ' ' })).toEqual({
      id: 'gate',
      name: 'gate',
      url: 'rtsp://u:p@ss@h/1',
    });
  });
});
