import { useSignal } from '@preact/signals';
import { useState } from 'preact/hooks';
import type { Alarm } from '../domain/types';
import { RULE_KINDS, type RuleKind } from '../domain/types';
import { formatNumber, formatTime, type MessageKey, nameOfClass, t } from '../i18n';
import { classColor } from '../live/colors';
import { notify } from '../state/notices';
import type { Workspace } from '../state/workspace';
import { BlobImage } from './blob-image';
import { ClipDialog } from './clip-dialog';
import { BellIcon, CheckIcon, PlayIcon } from './icons';
import { explain } from './trouble';

const FILTERS = ['all', 'open'] as const;
type Filter = (typeof FILTERS)[number];

export function AlarmFeed({ workspace }: { workspace: Workspace }) {
  const filter = useSignal<Filter>('all');
  // Here, not at the alarm: the list may drop an alarm whose clip is being watched.
  const [playing, setPlaying] = useState<Alarm | null>(null);
  const all = workspace.alarms.value;
  const open = all?.filter((alarm) => !alarm.acknowledged) ?? [];
  const trouble = workspace.alarmsTrouble.value;
  const stream = workspace.stream.value;
  return (
    <aside class="feed" aria-label={t('alarm.feed')}>
      <div class="feed-head">
        <h2>
          {t('alarm.feed')}
          {open.length > 0 ? <span class="badge">{open.length}</span> : null}
        </h2>
        <span
          class={`stream-dot ${stream}`}
          role="img"
          aria-label={t(`stream.${stream}` as MessageKey)}
          title={t(`stream.${stream}` as MessageKey)}
        />
        {/* biome-ignore lint/a11y/useSemanticElements: a fieldset is for a form. */}
        <div class="segmented" role="group" aria-label={t('alarm.filter.label')}>
          {FILTERS.map((name) => (
            <button
              key={name}
              type="button"
              aria-pressed={filter.value === name}
              onClick={() => {
                filter.value = name;
              }}
            >
              {t(`alarm.filter.${name}`)}
            </button>
          ))}
        </div>
      </div>
      {stream === 'waiting' || stream === 'refused' ? (
        <p class="banner small">{t(`stream.${stream}`)}</p>
      ) : null}
      {trouble && stream === 'open' ? <p class="banner small">{explain(trouble)}</p> : null}
      <AlarmList
        workspace={workspace}
        alarms={filter.value === 'open' ? open : all}
        onPlay={setPlaying}
      />
      {playing ? (
        <ClipDialog
          api={workspace.api}
          alarm={playing}
          mayReveal={workspace.can('evidence.reveal')}
          title={t('clip.title', {
            kind: kindText(playing.kind),
            camera: cameraName(workspace, playing),
          })}
          onClose={() => setPlaying(null)}
        />
      ) : null}
    </aside>
  );
}

function AlarmList({
  workspace,
  alarms,
  onPlay,
}: {
  workspace: Workspace;
  alarms: readonly Alarm[] | null;
  onPlay: (alarm: Alarm) => void;
}) {
  if (alarms === null) {
    return workspace.alarmsTrouble.value ? null : <p class="quiet-text">{t('alarm.loading')}</p>;
  }
  if (alarms.length === 0) {
    const anyAtAll = (workspace.alarms.value?.length ?? 0) > 0;
    return (
      <div class="empty small">
        <BellIcon />
        <h3>{anyAtAll ? t('alarm.none.open') : t('alarm.none.title')}</h3>
        {anyAtAll ? null : <p>{t('alarm.none.text')}</p>}
      </div>
    );
  }
  return (
    <div class="feed-scroll">
      <ol class="alarms" aria-live="polite" aria-relevant="additions">
        {alarms.map((alarm) => (
          <AlarmItem key={alarm.id} workspace={workspace} alarm={alarm} onPlay={onPlay} />
        ))}
      </ol>
      {workspace.cursor.value !== null ? <MoreButton workspace={workspace} /> : null}
    </div>
  );
}

function MoreButton({ workspace }: { workspace: Workspace }) {
  const [busy, setBusy] = useState(false);
  const more = async () => {
    setBusy(true);
    try {
      await workspace.loadEarlier();
    } catch (error) {
      notify('bad', explain(error));
    }
    setBusy(false);
  };
  return (
    <button type="button" class="button quiet block" disabled={busy} onClick={more}>
      {t('alarm.more')}
    </button>
  );
}

function cameraName(workspace: Workspace, alarm: Alarm): string {
  if (alarm.camera === STORAGE) return t('alarm.storage');
  return workspace.camera(alarm.camera)?.name ?? alarm.camera;
}

function AlarmItem({
  workspace,
  alarm,
  onPlay,
}: {
  workspace: Workspace;
  alarm: Alarm;
  onPlay: (alarm: Alarm) => void;
}) {
  const camera = cameraName(workspace, alarm);
  return (
    <li class={`alarm${alarm.acknowledged ? ' done' : ''}`} data-alarm={alarm.id}>
      <button
        type="button"
        class="alarm-body"
        aria-label={`${kindText(alarm.kind)}. ${t('alarm.show', { camera })}`}
        onClick={() => workspace.highlight(alarm.camera)}
      >
        <BlobImage
          api={workspace.api}
          path={alarm.snapshot}
          alt={t('alarm.snapshot')}
          fallback={t('alarm.noSnapshot')}
        />
        <span class="alarm-text">
          <strong>{kindText(alarm.kind)}</strong>
          {SYSTEM_KINDS.has(alarm.kind) ? (
            <span class="alarm-where">{camera}</span>
          ) : (
            <>
              <span class="alarm-what">
                <ClassDot label={alarm.label} />
                {nameOfClass(alarm.label)} {formatNumber(alarm.confidence * 100)}%
              </span>
              <span class="alarm-where">
                {camera} · {alarm.rule}
              </span>
            </>
          )}
          <span class="alarm-when">
            <time dateTime={new Date(alarm.atMs).toISOString()}>{formatTime(alarm.atMs)}</time>
            {alarm.totalLatencyMs !== null ? (
              <span title={t('alarm.latency', { ms: formatNumber(alarm.totalLatencyMs) })}>
                {' '}
                · {formatNumber(alarm.totalLatencyMs)} ms
              </span>
            ) : null}
          </span>
        </span>
      </button>
      <button
        type="button"
        class="icon-button play"
        aria-haspopup="dialog"
        aria-label={t('alarm.play')}
        title={t('alarm.play')}
        onClick={() => onPlay(alarm)}
      >
        <PlayIcon />
      </button>
      <Acknowledge workspace={workspace} alarm={alarm} />
    </li>
  );
}

export function ClassDot({ label }: { label: string }) {
  return (
    <svg class="class-dot" viewBox="0 0 8 8" aria-hidden="true">
      <circle cx="4" cy="4" r="4" fill={classColor(label)} />
    </svg>
  );
}

function Acknowledge({ workspace, alarm }: { workspace: Workspace; alarm: Alarm }) {
  const [busy, setBusy] = useState(false);
  if (alarm.acknowledged) {
    const by = alarm.acknowledgedBy;
    const text = by ? t('alarm.acknowledgedBy', { by }) : t('alarm.acknowledged');
    return (
      <span class="ack-done" role="img" aria-label={text} title={text}>
        <CheckIcon />
      </span>
    );
  }
  if (!workspace.can('alarm.acknowledge')) return null;
  const acknowledge = async () => {
    setBusy(true);
    try {
      await workspace.acknowledge(alarm.id);
    } catch (error) {
      notify('bad', explain(error));
      setBusy(false);
    }
  };
  return (
    <button
      type="button"
      class="icon-button ack"
      disabled={busy}
      aria-label={t('alarm.acknowledge')}
      title={t('alarm.acknowledge')}
      onClick={acknowledge}
    >
      <CheckIcon />
    </button>
  );
}

/** What Atalaia itself says of a camera, or of what it keeps. */
const SYSTEM_KINDS = new Set([
  'blind',
  'black',
  'glare',
  'covered',
  'frozen',
  'blurred',
  'moved',
  'recording',
  'evidence',
  'footage',
  'disk',
  'disk-full',
]);

/** Stands for a camera in alarms that concern all of them. */
const STORAGE = 'atalaia-storage';

/** In words; a kind that this page does not know yet is shown as the API names it. */
export function kindText(kind: string): string {
  if (RULE_KINDS.includes(kind as RuleKind)) return t(`kind.${kind}` as MessageKey);
  return SYSTEM_KINDS.has(kind) ? t(`kind.system.${kind}` as MessageKey) : kind;
}
