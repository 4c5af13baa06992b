import { describe, expect, it } from 'vitest';
import { DecodeError, decodeErasure } from '../../src/domain/decode';

const STEPS = [
  { step: 'records', state: 'done', waiting_for: null, detail: null },
  { step: 'settle', state: 'waiting', waiting_for: 'in-sight', detail: null },
  { step: 'verify', state: 'pending', waiting_for: null, detail: null },
];
const ASKED = {
  id: '3f2b8c1e-0d6a-4a57-9d0e-5b1f1f0c9a77',
  state: 'waiting',
  steps: STEPS,
  removed: [
    { kind: 'sql.alarms', removed: 2, bytes: 0 },
    { kind: 'blobs.clips', removed: 1, bytes: 900 },
  ],
  receipt: null,
};

describe('an erasure', () => {
  it('says what is open and how much went', () => {
    expect(decodeErasure(ASKED)).toEqual({
      id: ASKED.id,
      state: 'waiting',
      open: [
        { step: 'settle', waitingFor: 'in-sight' },
        { step: 'verify', waitingFor: null },
      ],
      removed: 3,
      receipt: null,
    });
  });

  it('keeps the receipt as it was signed', () => {
    const receipt = { format: 'atalaia-erasure-receipt-1', signature: '00' };
    expect(decodeErasure({ ...ASKED, state: 'done', steps: [], receipt }).receipt).toEqual(receipt);
  });

  it('takes no unknown state for the end', () => {
    expect(decodeErasure({ ...ASKED, state: 'paused' }).state).toBe('running');
  });

  it.each([null, [], {}, { ...ASKED, id: 7 }, { ...ASKED, steps: null }])('is not %j', (body) => {
    expect(() => decodeErasure(body)).toThrow(DecodeError);
  });
});
