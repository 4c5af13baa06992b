import { describe, expect, it } from 'vitest';
import { CAPACITY, FrameRing } from '../../src/live/frame-ring';
import { HoldBack, MAX_HOLD_MS, percentile } from '../../src/live/holdback';
import { MatchStats } from '../../src/live/match-stats';
import { STALL_CHECKS, StallWatch } from '../../src/live/stall';

describe('HoldBack', () => {
  const settled = (lateness: (i: number) => number) => {
    const hold = new HoldBack();
    for (let i = 0; i < 400; i += 1) {
      if (i % 5 === 0) hold.observe(lateness(i));
      hold.step();
    }
    return hold.currentMs;
  };

  it('settles a little above what 95 of 100 boxes need', () => {
    expect(settled((i) => 20 + (i % 20))).toBeCloseTo(35 + 8, 0);
  });

  it('never exceeds its limit, however late the boxes are', () => {
    expect(settled(() => 900)).toBe(MAX_HOLD_MS);
  });

  it('holds nothing back where boxes come first', () => {
    expect(settled(() => -50)).toBe(0);
  });

  it('rises fast and falls slowly', () => {
    const hold = new HoldBack();
    for (let i = 0; i < 5; i += 1) hold.observe(100);
    const before = hold.currentMs;
    hold.step();
    expect(hold.currentMs - before).toBe(6);
    for (let i = 0; i < 50; i += 1) hold.observe(-10);
    const high = hold.currentMs;
    hold.step();
    expect(high - hold.currentMs).toBe(0.5);
  });

  it('waits for a few observations before it moves', () => {
    const hold = new HoldBack();
    hold.observe(500);
    expect(hold.targetMs).toBe(60);
    expect(hold.latenessMs(0.5)).toBe(500);
    hold.reset();
    expect(hold.latenessMs(0.5)).toBeNull();
  });
});

describe('percentile', () => {
  it.each([
    [[5], 0.5, 5],
    [[3, 1, 2], 0.5, 2],
    [[1, 2, 3, 4], 1, 4],
    [[1, 2, 3, 4], 0, 1],
  ])('of %j at %d is %d', (values, p, expected) => {
    expect(percentile(values, p)).toBe(expected);
  });
});

describe('MatchStats', () => {
  const make = () => {
    const lateness: number[] = [];
    return { stats: new MatchStats((ms) => lateness.push(ms)), lateness };
  };

  it('counts a frame whose boxes were there as exact', () => {
    const { stats, lateness } = make();
    stats.presented(1, 100);
    stats.arrived(1, 130);
    stats.shown(1, true);
    expect(stats.counts).toEqual({ exact: 1, late: 0, unseen: 0 });
    expect(lateness).toEqual([30]);
  });

  it('counts a frame whose boxes came after it was shown as late', () => {
    const { stats } = make();
    stats.presented(1, 100);
    stats.shown(1, false);
    stats.arrived(1, 250);
    expect(stats.counts).toEqual({ exact: 0, late: 1, unseen: 0 });
    expect(stats.exactFraction).toBe(0);
  });

  it('measures boxes that came before their frame', () => {
    const { stats, lateness } = make();
    stats.arrived(1, 90);
    stats.presented(1, 100);
    expect(lateness).toEqual([-10]);
  });

  it('does not count frames that were never analysed', () => {
    const { stats } = make();
    for (let i = 0; i < 1_000; i += 1) {
      stats.presented(i, i);
      stats.shown(i, false);
    }
    expect(stats.counts).toEqual({ exact: 0, late: 0, unseen: 0 });
    expect(stats.exactFraction).toBeNull();
  });

  it('counts analysed frames that never came to be shown', () => {
    const { stats } = make();
    stats.arrived(0, 10);
    for (let i = 1; i <= 300; i += 1) stats.presented(i, i);
    expect(stats.counts.unseen).toBe(1);
  });

  it('counts each frame once, however often it is told', () => {
    const { stats, lateness } = make();
    for (let i = 0; i < 3; i += 1) {
      stats.presented(1, 100);
      stats.arrived(1, 110);
      stats.shown(1, true);
    }
    expect(stats.counts.exact).toBe(1);
    expect(lateness).toHaveLength(1);
  });
});

describe('FrameRing', () => {
  const make = () => {
    const closed: number[] = [];
    const ring = new FrameRing<{ presentedMs: number; close(): void }>();
    const push = (ms: number) => ring.push({ presentedMs: ms, close: () => closed.push(ms) });
    return { ring, push, closed };
  };

  it('shows the oldest in time where frames come faster than it can hold them back', () => {
    const { ring, push } = make();
    const shown: number[] = [];
    for (let ms = 0; ms < 1_000; ms += 16) {
      push(ms);
      const taken = ring.take(ms - MAX_HOLD_MS);
      if (taken) shown.push(ms - taken.presentedMs);
    }
    expect(new Set(shown)).toEqual(new Set([(CAPACITY - 1) * 16]));
    expect(ring.passedOver).toBe(0);
  });

  it('gives a frame when its time has come, and not before', () => {
    const { ring, push } = make();
    push(100);
    expect(ring.take(99)).toBeNull();
    expect(ring.take(100)?.presentedMs).toBe(100);
    expect(ring.length).toBe(0);
  });

  it('gives the newest that is due, and closes those before it', () => {
    const { ring, push, closed } = make();
    for (const ms of [100, 140, 180]) push(ms);
    expect(ring.take(150)?.presentedMs).toBe(140);
    expect(closed).toEqual([100]);
    expect(ring.passedOver).toBe(1);
    expect(ring.length).toBe(1);
  });

  it('is bounded, and closes what leaves it', () => {
    const { ring, push, closed } = make();
    for (let i = 0; i < 20; i += 1) push(i);
    expect(ring.length).toBe(9);
    expect(closed).toHaveLength(11);
    ring.clear();
    expect(closed).toHaveLength(20);
  });
});

describe('StallWatch', () => {
  const checks = (watch: StallWatch, count: number, shown: number, expected = true) =>
    Array.from({ length: count }, () => watch.check(shown, expected)).filter(Boolean).length;

  it('tells a stall once, and again where nothing helped', () => {
    const watch = new StallWatch();
    expect(checks(watch, STALL_CHECKS, 7)).toBe(0);
    expect(checks(watch, 1, 7)).toBe(1);
    expect(checks(watch, STALL_CHECKS - 1, 7)).toBe(0);
    expect(checks(watch, 1, 7)).toBe(1);
  });

  it('is content while frames come, or while none are expected', () => {
    const watch = new StallWatch();
    for (let i = 0; i < 500; i += 1) expect(watch.check(i, true)).toBe(false);
    expect(checks(watch, 500, 500, false)).toBe(0);
    expect(checks(watch, STALL_CHECKS - 1, 500)).toBe(0);
  });
});
