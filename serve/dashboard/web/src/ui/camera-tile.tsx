import type { RefObject } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { blindCauses, coverageToday } from '../domain/coverage';
import type { Camera, CameraCoverage } from '../domain/types';
import { formatNumber, type MessageKey, t } from '../i18n';
import { MAX_CONNECTIONS } from '../live/policy';
import type { Workspace } from '../state/workspace';
import { DebugPanel } from './debug-panel';
import {
  EnlargeIcon,
  EyeIcon,
  EyeOffIcon,
  NoSignalIcon,
  RulesIcon,
  ShrinkIcon,
  TrashIcon,
} from './icons';
import { type LiveCamera, useLiveCamera } from './use-live-camera';

/** A camera at 1 frame per second is slow; three times that is a standstill. */
const STALLED_MS = 3_000;
const DEBUG = new URLSearchParams(location.search).has('debug');

export interface CameraTileProps {
  readonly workspace: Workspace;
  readonly camera: Camera;
  readonly onRules: (camera: Camera) => void;
  readonly onRemove: (camera: Camera) => void;
}

export function CameraTile({ workspace, camera, onRules, onRemove }: CameraTileProps) {
  const tile = useRef<HTMLElement>(null);
  const video = useRef<HTMLVideoElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const wanted = workspace.connections.value.has(camera.id);
  const unmasked = useUnmasked(workspace, camera, wanted);
  const live = useLiveCamera(workspace, camera.id, wanted, unmasked.shown, { video, canvas });
  useVisibility(tile, (visible) => workspace.setVisible(camera.id, visible));

  const focused = workspace.focused.value === camera.id;
  const highlighted = workspace.highlighted.value === camera.id;
  useEffect(() => {
    if (highlighted || focused) {
      tile.current?.scrollIntoView({ block: 'nearest', behavior: 'smooth' });
    }
  }, [highlighted, focused]);

  const toggleFocus = () => {
    workspace.focused.value = focused ? null : camera.id;
  };
  return (
    <article
      ref={tile}
      class={`tile${focused ? ' focused' : ''}${highlighted ? ' highlighted' : ''}`}
      aria-label={camera.name}
      data-camera={camera.id}
      data-shown={live.stats?.shown ?? 0}
      data-exact={live.stats?.exact ?? 0}
      data-late={live.stats?.late ?? 0}
      data-overlay={live.stats?.overlay ?? 'none'}
      data-boxes={live.stats?.boxes ?? 0}
      data-unmasked={unmasked.shown}
    >
      <TilePicture
        video={video}
        canvas={canvas}
        name={camera.name}
        live={live}
        notice={noticeOf(camera, live, wanted)}
        onEnlarge={toggleFocus}
      />
      <TileFoot
        camera={camera}
        facts={facts(camera, live)}
        coverage={workspace.coverage.value.get(camera.id)}
        focused={focused}
        unmasked={unmasked}
        onRules={() => onRules(camera)}
        onRemove={workspace.can('camera.manage') ? () => onRemove(camera) : null}
        onEnlarge={toggleFocus}
      />
      {camera.state === 'degraded' && camera.reason ? (
        <p class="tile-reason">{camera.reason}</p>
      ) : null}
    </article>
  );
}

function TilePicture(props: {
  video: RefObject<HTMLVideoElement | null>;
  canvas: RefObject<HTMLCanvasElement | null>;
  name: string;
  live: LiveCamera;
  notice: TileNotice | null;
  onEnlarge: () => void;
}) {
  const { video, canvas, name, live, notice, onEnlarge } = props;
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: a shortcut for the mouse only.
    <div class="tile-picture" onDblClick={onEnlarge}>
      <video ref={video} muted autoplay playsInline tabIndex={-1} aria-hidden="true" />
      <canvas
        ref={canvas}
        class={live.hasPicture ? 'shown' : ''}
        role="img"
        aria-label={t('camera.video', { name })}
      />
      {notice ? (
        <div class={`tile-notice${live.hasPicture ? ' over-picture' : ''}`}>
          {notice.icon === 'none' ? <NoSignalIcon /> : <span class="spinner" />}
          <p>{notice.text}</p>
          {notice.detail ? <p class="detail">{notice.detail}</p> : null}
        </div>
      ) : null}
      {DEBUG && live.stats ? <DebugPanel stats={live.stats} /> : null}
    </div>
  );
}

function TileFoot(props: {
  camera: Camera;
  facts: string;
  coverage: CameraCoverage | undefined;
  focused: boolean;
  unmasked: Unmasked;
  onRules: () => void;
  onRemove: (() => void) | null;
  onEnlarge: () => void;
}) {
  const { camera, facts, coverage, focused, unmasked, onRules, onRemove, onEnlarge } = props;
  return (
    <footer class="tile-foot">
      <div class="tile-name">
        <h3 title={camera.name}>{camera.name}</h3>
        <p class="tile-facts" title={facts}>
          {unmasked.shown ? (
            // First, so that a narrow tile does not cut it off.
            <span class="chip unmasked" title={t('camera.unmasked.hint')}>
              {t('camera.unmasked')}
            </span>
          ) : null}
          <span class={`chip ${camera.state}`} title={camera.reason}>
            {t(`camera.state.${camera.state}` as MessageKey)}
          </span>
          {camera.masked && !unmasked.shown ? (
            <span class="chip masked" title={t('camera.masked.hint')}>
              {t('camera.masked')}
            </span>
          ) : null}
          {facts}
        </p>
        {coverage && coverage.expectedS > 0 ? (
          <p class="tile-facts" title={blindCauses(coverage)}>
            {coverageToday(coverage)}
          </p>
        ) : null}
      </div>
      {/* biome-ignore lint/a11y/useSemanticElements: a fieldset is for a form. */}
      <div
        class="tile-actions"
        role="group"
        aria-label={t('camera.actions', { name: camera.name })}
      >
        {unmasked.toggle ? (
          <TileButton
            label={unmasked.shown ? t('camera.masks.show') : t('camera.masks.lift')}
            onClick={unmasked.toggle}
          >
            {unmasked.shown ? <EyeOffIcon /> : <EyeIcon />}
          </TileButton>
        ) : null}
        <TileButton label={t('camera.rules')} onClick={onRules}>
          <RulesIcon />
        </TileButton>
        {onRemove ? (
          <TileButton label={t('camera.remove')} onClick={onRemove}>
            <TrashIcon />
          </TileButton>
        ) : null}
        <TileButton label={focused ? t('camera.shrink') : t('camera.enlarge')} onClick={onEnlarge}>
          {focused ? <ShrinkIcon /> : <EnlargeIcon />}
        </TileButton>
      </div>
    </footer>
  );
}

function TileButton(props: { label: string; onClick: () => void; children: preact.JSX.Element }) {
  return (
    <button
      type="button"
      class="icon-button"
      aria-label={props.label}
      title={props.label}
      onClick={props.onClick}
    >
      {props.children}
    </button>
  );
}

function facts(camera: Camera, live: LiveCamera): string {
  if (camera.state === 'offline' || camera.state === 'connecting') return '';
  const width = live.stats?.width || camera.width;
  const height = live.stats?.height || camera.height;
  const fps = live.stats?.fps || (live.hasPicture ? 0 : camera.fps);
  return [
    width && height ? `${width}×${height}` : null,
    fps ? t('camera.fps', { fps: formatNumber(fps) }) : null,
    camera.watchedFps ? t('camera.watched', { fps: formatNumber(camera.watchedFps, 1) }) : null,
  ]
    .filter((part) => part !== null)
    .join(' · ');
}

interface TileNotice {
  readonly icon: 'none' | 'busy';
  readonly text: string;
  readonly detail?: string;
}

/** What is said over the picture; null while it plays. */
function noticeOf(camera: Camera, live: LiveCamera, wanted: boolean): TileNotice | null {
  if (camera.state === 'offline') {
    return { icon: 'none', text: t('link.offline'), detail: camera.reason };
  }
  if (!wanted) {
    return camera.state === 'connecting'
      ? { icon: 'busy', text: t('link.connecting'), detail: camera.reason }
      : { icon: 'none', text: t('link.limit', { limit: MAX_CONNECTIONS }) };
  }
  switch (live.link) {
    case 'refused':
      return { icon: 'none', text: t('link.refused') };
    case 'waiting':
      return { icon: 'busy', text: t('link.waiting') };
    case 'reconnecting':
      return { icon: 'busy', text: t('link.reconnecting') };
    case 'joining':
    case 'closed':
      return { icon: 'busy', text: t('link.joining') };
    case 'connected':
      return pictureNotice(live);
  }
}

function pictureNotice({ stats, hasPicture }: LiveCamera): TileNotice | null {
  if (!stats || !hasPicture) return { icon: 'busy', text: t('link.noVideo') };
  const silentMs = performance.now() - stats.lastShownMs;
  if (silentMs < STALLED_MS) return null;
  return { icon: 'busy', text: t('link.stalled', { seconds: Math.round(silentMs / 1_000) }) };
}

interface Unmasked {
  /** Whether the tile shows the room without masks. */
  readonly shown: boolean;
  /** Null where the camera has no masks, or who is signed in may not see below them. */
  readonly toggle: (() => void) | null;
}

/** Ends when the tile goes out of view or the camera loses its masks: whoever comes back to the page
 * sees masks, until somebody asks again. */
function useUnmasked(workspace: Workspace, camera: Camera, wanted: boolean): Unmasked {
  const [chosen, choose] = useState(false);
  const possible = wanted && camera.masked && workspace.can('live.unmasked');
  useEffect(() => {
    if (!possible) choose(false);
  }, [possible]);
  const shown = chosen && possible;
  return { shown, toggle: possible ? () => choose(!shown) : null };
}

function useVisibility(
  element: { readonly current: HTMLElement | null },
  onChange: (visible: boolean) => void,
): void {
  const latest = useRef(onChange);
  latest.current = onChange;
  useEffect(() => {
    if (!element.current) return;
    const observer = new IntersectionObserver(
      (entries) => {
        const last = entries.at(-1);
        if (last) latest.current(last.isIntersecting);
      },
      { rootMargin: '100px' },
    );
    observer.observe(element.current);
    return () => {
      observer.disconnect();
      latest.current(false);
    };
  }, [element]);
}
