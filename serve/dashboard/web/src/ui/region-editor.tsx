/** Draws a zone or a line over a picture, with the mouse, a finger or the keyboard. */

import type { Point } from '../domain/types';
import { t } from '../i18n';
import { leftToRight, MAX_CORNERS } from '../rules/geometry';
import { UndoIcon } from './icons';
import { useDrawing } from './use-drawing';

/** The drawing's own units across the picture; its height follows from the picture's shape. */
const WIDTH = 1000;

export interface RegionEditorProps {
  readonly shape: 'zone' | 'line';
  readonly points: readonly Point[];
  /** Width over height of the picture. */
  readonly aspect: number;
  /** Draw the arrow from left to right, for a line with a direction. */
  readonly arrow: 'none' | 'forward' | 'backward';
  readonly onChange: (points: readonly Point[]) => void;
}

export function RegionEditor({ shape, points, aspect, arrow, onChange }: RegionEditorProps) {
  const limit = shape === 'line' ? 2 : MAX_CORNERS;
  const { svg, cursor, handlers } = useDrawing({ points, limit, onChange });
  return (
    <>
      <svg
        ref={svg}
        class="region"
        viewBox={`0 0 ${WIDTH} ${WIDTH / aspect}`}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a drawing area takes the keyboard.
        tabIndex={0}
        role="application"
        aria-label={t('draw.area')}
        {...handlers}
      >
        <title>{t('draw.area')}</title>
        <Outline shape={shape} points={points} aspect={aspect} arrow={arrow} />
        {points.map((point, i) => (
          <Corner
            key={i}
            index={i}
            at={scale(point, aspect)}
            onRemove={() => onChange(points.filter((_, other) => other !== i))}
          />
        ))}
        {cursor ? <Cross at={scale(cursor, aspect)} /> : null}
      </svg>
      <Tools points={points} onChange={onChange} />
    </>
  );
}

function Tools({ points, onChange }: Pick<RegionEditorProps, 'points' | 'onChange'>) {
  return (
    <div class="region-tools">
      <button
        type="button"
        class="icon-button"
        aria-label={t('draw.undo')}
        title={t('draw.undo')}
        disabled={points.length === 0}
        onClick={() => onChange(points.slice(0, -1))}
      >
        <UndoIcon />
      </button>
      <button
        type="button"
        class="button quiet small"
        disabled={points.length === 0}
        onClick={() => onChange([])}
      >
        {t('draw.clear')}
      </button>
    </div>
  );
}

/** The outline of a zone or line alone: also how existing rules are shown. */
export function Outline(props: Omit<RegionEditorProps, 'onChange'> & { readonly faint?: boolean }) {
  const { shape, points, aspect, arrow, faint = false } = props;
  const scaled = points.map((point) => scale(point, aspect));
  const list = scaled.map(([x, y]) => `${x},${y}`).join(' ');
  return (
    <g class={faint ? 'outline faint' : 'outline'}>
      {shape === 'zone' && points.length > 2 ? (
        <polygon points={list} />
      ) : (
        <polyline points={list} />
      )}
      {shape === 'line' && arrow !== 'none' ? (
        <Arrow points={points} aspect={aspect} backward={arrow === 'backward'} />
      ) : null}
    </g>
  );
}

function Arrow(props: { points: readonly Point[]; aspect: number; backward: boolean }) {
  const [a, b] = props.points;
  if (!a || !b) return null;
  const [dx, dy] = leftToRight(a, b, props.aspect);
  const sign = props.backward ? -1 : 1;
  const [x, y] = scale([(a[0] + b[0]) / 2, (a[1] + b[1]) / 2], props.aspect);
  const tip: Point = [x + dx * sign * 70, y + dy * sign * 70];
  const back: Point = [tip[0] - dx * sign * 22, tip[1] - dy * sign * 22];
  const left: Point = [back[0] - dy * 14, back[1] + dx * 14];
  const right: Point = [back[0] + dy * 14, back[1] - dx * 14];
  return (
    <path
      class="arrow"
      d={`M${x} ${y}L${tip[0]} ${tip[1]}M${left[0]} ${left[1]}L${tip[0]} ${tip[1]}L${right[0]} ${right[1]}`}
    />
  );
}

function Corner(props: { index: number; at: Point; onRemove: () => void }) {
  const [cx, cy] = props.at;
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: Backspace on the drawing area does the same.
    <circle
      class="corner"
      cx={cx}
      cy={cy}
      r={11}
      data-corner={props.index}
      onContextMenu={(event) => {
        event.preventDefault();
        props.onRemove();
      }}
    >
      <title>{t('draw.corner', { index: props.index + 1 })}</title>
    </circle>
  );
}

function Cross({ at: [x, y] }: { at: Point }) {
  return <path class="cross" d={`M${x - 22} ${y}h44M${x} ${y - 22}v44`} />;
}

function scale([x, y]: Point, aspect: number): Point {
  return [x * WIDTH, (y * WIDTH) / aspect];
}
