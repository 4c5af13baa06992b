import { describe, expect, it } from 'vitest';
import { decodeAnonymisation, decodeClip } from '../../src/domain/decode';
import { clipJson } from '../samples';

const policy = {
  hide: 'persons',
  cameras: { gate: 'heads' },
  style: 'mosaic',
  keep_audio: true,
  classes: ['person'],
  changed_at: null,
  changed_by: null,
};

describe('the anonymisation policy', () => {
  it('is read as a whole, so that it can be written back', () => {
    expect(decodeAnonymisation(policy)).toEqual({
      hide: 'persons',
      cameras: { gate: 'heads' },
      style: 'mosaic',
      keepAudio: true,
      classes: ['person'],
    });
  });

  it.each([{ hide: 'backs' }, { cameras: { gate: 'backs' } }, { style: 'ink' }, { classes: null }])(
    'with what this page does not know is an error: %j',
    (changes) => {
      expect(() => decodeAnonymisation({ ...policy, ...changes })).toThrow();
    },
  );
});

describe('a clip', () => {
  it.each([
    [{}, false, null],
    [{ anonymised: 'off', reveal: null }, false, null],
    [{ anonymised: 'heads', reveal: null }, true, null],
    [{ anonymised: 'off', reveal: 'r1' }, false, 'r1'],
  ])('says whether persons are hidden: %j', (changes, anonymised, reveal) => {
    expect(decodeClip(clipJson(changes))).toMatchObject({ anonymised, reveal });
  });
});
