/** Mouse, finger and keyboard on a drawing area, turned into the corners of an outline. */

import { useRef, useState } from 'preact/hooks';
import type { Point } from '../domain/types';
import { clampPoint } from '../rules/geometry';

/** Shares of the picture per key press. */
const KEY_STEP = 0.01;
const KEY_STEP_FAST = 0.05;
const CENTRE: Point = [0.5, 0.5];
const ARROWS: Readonly<Record<string, Point>> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

export interface DrawingOptions {
  readonly points: readonly Point[];
  /** How many corners there may be. */
  readonly limit: number;
  readonly onChange: (points: readonly Point[]) => void;
}

export function useDrawing({ points, limit, onChange }: DrawingOptions) {
  const svg = useRef<SVGSVGElement>(null);
  const dragged = useRef<number | null>(null);
  const [cursor, setCursor] = useState<Point | null>(null);

  const add = (point: Point) => {
    if (points.length < limit) onChange([...points, point]);
  };
  const onPointerDown = (event: PointerEvent) => {
    if (event.button !== 0 || !svg.current) return;
    svg.current.setPointerCapture(event.pointerId);
    setCursor(null);
    const corner = (event.target as Element).getAttribute('data-corner');
    if (corner !== null) {
      dragged.current = Number(corner);
    } else if (points.length < limit) {
      dragged.current = points.length;
      add(pointAt(event, svg.current));
    }
  };
  const onPointerMove = (event: PointerEvent) => {
    const { current } = dragged;
    if (current === null || !svg.current) return;
    const moved = pointAt(event, svg.current);
    onChange(points.map((point, i) => (i === current ? moved : point)));
  };
  const onPointerUp = () => {
    dragged.current = null;
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const at = cursor ?? CENTRE;
    const arrow = ARROWS[event.key];
    if (arrow) {
      const step = event.shiftKey ? KEY_STEP_FAST : KEY_STEP;
      setCursor(clampPoint([at[0] + arrow[0] * step, at[1] + arrow[1] * step]));
    } else if (event.key === 'Enter' || event.key === ' ') {
      add(at);
      setCursor(at);
    } else if (event.key === 'Backspace' || event.key === 'Delete') {
      onChange(points.slice(0, -1));
    } else {
      return;
    }
    event.preventDefault();
  };
  const onBlur = () => setCursor(null);

  const handlers = { onPointerDown, onPointerMove, onPointerUp, onKeyDown, onBlur };
  return { svg, cursor, handlers };
}

function pointAt(event: PointerEvent, area: SVGSVGElement): Point {
  const rect = area.getBoundingClientRect();
  return clampPoint([
    (event.clientX - rect.left) / rect.width,
    (event.clientY - rect.top) / rect.height,
  ]);
}
