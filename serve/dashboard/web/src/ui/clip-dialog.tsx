/** The clip of an alarm, with what was seen in it drawn over it. */

import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Api } from '../api/client';
import type { Alarm, Clip } from '../domain/types';
import { SeenOverlay } from '../evidence/player';
import { formatTime, type MessageKey, nameOfClass, t } from '../i18n';
import { en } from '../i18n/en';
import { Dialog } from './dialog';
import { Reveal } from './reveal';
import { type ClipWatch, useClip } from './use-clip';

/** An address that failed sooner than this was not refused for its age. */
const FRESH_MS = 30_000;

export interface ClipDialogProps {
  readonly api: Api;
  readonly alarm: Alarm;
  readonly title: string;
  /** Whether the viewer may see originals, with a reason. */
  readonly mayReveal: boolean;
  readonly onClose: () => void;
}

export function ClipDialog({ api, alarm, title, mayReveal, onClose }: ClipDialogProps) {
  const watch = useClip(api, alarm.id);
  const { clip, error } = watch;
  return (
    <Dialog title={title} wide onClose={onClose}>
      <div class="clip" data-clip={clip?.state ?? 'loading'}>
        {clip?.url ? (
          <ClipPlayer clip={clip} url={clip.url} watch={watch} />
        ) : (
          <ClipState clip={clip} failed={error !== null} />
        )}
        {clip === null ? null : (
          <Reveal api={api} alarm={alarm.id} clip={clip} may={mayReveal} onChange={watch.renew} />
        )}
        <p class="form-error" role="alert">
          {error}
        </p>
      </div>
    </Dialog>
  );
}

function ClipState({ clip, failed }: { clip: Clip | null; failed: boolean }) {
  if (clip === null) {
    return (
      <div class="clip-state" aria-live="polite">
        {failed ? null : <p class="quiet-text">{t('clip.loading')}</p>}
      </div>
    );
  }
  return (
    <div class="clip-state" aria-live="polite">
      <strong>{t(clip.state === 'pending' ? 'clip.pending' : 'clip.none')}</strong>
      <p class="quiet-text">{reasonOf(clip)}</p>
    </div>
  );
}

/** In the page's language where it knows the reason, else as the API says it. */
export function reasonOf(clip: Clip): string {
  const key = `clip.reason.${clip.code}`;
  return Object.hasOwn(en, key) ? t(key as MessageKey) : clip.reason;
}

function ClipPlayer({ clip, url, watch }: { clip: Clip; url: string; watch: ClipWatch }) {
  const video = useRef<HTMLVideoElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [boxes, setBoxes] = useState(true);
  const [unplayable, setUnplayable] = useState(false);
  const overlay = useRef<SeenOverlay | null>(null);
  const seen = useRef(watch.seen);
  seen.current = boxes ? watch.seen : [];
  const place = usePlace(video, url);

  useEffect(() => {
    if (!video.current || !canvas.current) return;
    const made = new SeenOverlay(video.current, canvas.current, () => seen.current, nameOfClass);
    overlay.current = made;
    return () => made.dispose();
  }, []);
  // A clip that stands still shows no new picture by which boxes would come or go.
  useEffect(() => overlay.current?.draw(), [boxes, watch.seen]);

  const onError = () => {
    if (Date.now() - place.loadedMs() > FRESH_MS) watch.renew();
    else setUnplayable(true);
  };
  return (
    <>
      <div class="clip-picture">
        {/* biome-ignore lint/a11y/useMediaCaption: a camera's picture has no words to caption. */}
        <video
          ref={video}
          src={url}
          controls
          autoplay
          playsInline
          aria-label={t('clip.video')}
          onError={onError}
        />
        <canvas ref={canvas} />
      </div>
      {unplayable ? <Note>{t('clip.unplayable')}</Note> : null}
      {clip.gaps > 0 ? <Note>{t('clip.gaps')}</Note> : null}
      <div class="clip-foot">
        <time dateTime={new Date(clip.fromMs).toISOString()}>
          {formatTime(clip.fromMs)} – {formatTime(clip.toMs)}
        </time>
        <label class="check">
          <input
            type="checkbox"
            checked={boxes}
            onChange={(event) => setBoxes(event.currentTarget.checked)}
          />
          {t('clip.boxes')}
        </label>
        <button type="button" class="button quiet" onClick={() => place.jump(clip.alarmAtS)}>
          {t('clip.toAlarm')}
        </button>
        <a class="button quiet" href={url} download={`${clip.fromMs}.mp4`}>
          {t('clip.download')}
        </a>
      </div>
    </>
  );
}

function Note({ children }: { children: ComponentChildren }) {
  return <p class="banner small">{children}</p>;
}

/** Keeps the place in the clip when it gets a fresh address. */
function usePlace(video: { readonly current: HTMLVideoElement | null }, url: string) {
  const loaded = useRef(Date.now());
  const at = useRef(0);
  useEffect(() => {
    const element = video.current;
    if (!element) return;
    loaded.current = Date.now();
    if (at.current > 0) element.currentTime = at.current;
    const remember = () => {
      at.current = element.currentTime;
    };
    element.addEventListener('timeupdate', remember);
    return () => element.removeEventListener('timeupdate', remember);
  }, [video, url]);
  const jump = (toS: number) => {
    if (video.current) video.current.currentTime = Math.max(0, toS);
  };
  return { loadedMs: () => loaded.current, jump };
}
