/** The same checks on zones and lines that the API makes, so that the editor can say so at once. */

import type { Point } from '../domain/types';

/** As in the API: a 9x9 pixel patch at 1080p. */
export const MIN_ZONE_AREA = 1e-4;
export const MIN_LINE_LENGTH = 1e-2;
export const MAX_CORNERS = 64;

export function polygonArea(points: readonly Point[]): number {
  let twice = 0;
  points.forEach(([x, y], i) => {
    const [nextX, nextY] = points[(i + 1) % points.length] ?? [x, y];
    twice += x * nextY - y * nextX;
  });
  return Math.abs(twice) / 2;
}

export function crossesItself(points: readonly Point[]): boolean {
  const edges = points.map((a, i) => [a, points[(i + 1) % points.length] ?? a] as const);
  return edges.some(([a, b], i) => edges.slice(i + 1).some(([c, d]) => segmentsCross(a, b, c, d)));
}

function segmentsCross(a: Point, b: Point, c: Point, d: Point): boolean {
  return side(a, b, c) * side(a, b, d) < 0 && side(c, d, a) * side(c, d, b) < 0;
}

function side(p: Point, q: Point, r: Point): number {
  return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]);
}

export type OutlineProblem = 'too-few' | 'too-many' | 'crosses' | 'too-small';

export function zoneProblem(points: readonly Point[]): OutlineProblem | null {
  if (points.length < 3) return 'too-few';
  if (points.length > MAX_CORNERS) return 'too-many';
  if (crossesItself(points)) return 'crosses';
  return polygonArea(points) < MIN_ZONE_AREA ? 'too-small' : null;
}

export function lineProblem(points: readonly Point[]): OutlineProblem | null {
  const [a, b] = points;
  if (!a || !b) return 'too-few';
  if (points.length > 2) return 'too-many';
  return Math.hypot(b[0] - a[0], b[1] - a[1]) < MIN_LINE_LENGTH ? 'too-small' : null;
}

/**
 * The way across a line from its left to its right side, as a unit vector on the screen: left and
 * right are those of someone who stands on `a` and looks at `b`.
 *
 * @param aspect width over height of the picture: normalized coordinates are not square.
 */
export function leftToRight(a: Point, b: Point, aspect: number): Point {
  const dx = (b[0] - a[0]) * aspect;
  const dy = b[1] - a[1];
  const length = Math.hypot(dx, dy);
  return length === 0 ? [0, 0] : [-dy / length + 0, dx / length];
}

/** Inside the picture, with four decimals: a fifth of a pixel at 1080p. */
export function clampPoint([x, y]: Point): Point {
  const clamp = (v: number) => Math.round(Math.min(1, Math.max(0, v)) * 1e4) / 1e4;
  return [clamp(x), clamp(y)];
}
