/** Objects that were seen: as cards, and what narrows them. */

import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import { COLOURS, type Match, type Sighting, type SightingKind } from '../domain/types';
import { formatNumber, formatTime, type MessageKey, nameOfClass, t } from '../i18n';
import type { Workspace } from '../state/workspace';
import { ClassDot } from './alarm-feed';
import { BlobImage } from './blob-image';
import { EraseDialog } from './erase-dialog';

export const EVERYTHING: SightingKind = { camera: '', label: '', colour: '' };

/** What people look for first; the API takes any class that the model knows. */
const CLASSES = ['person', 'bicycle', 'car', 'motorcycle', 'bus', 'truck', 'dog', 'cat'] as const;

export function ObjectFilters(props: {
  workspace: Workspace;
  filter: SightingKind;
  onChange: (filter: SightingKind) => void;
}) {
  const { workspace, filter, onChange } = props;
  const cameras = workspace.cameras.value ?? [];
  return (
    <fieldset class="field-row">
      <legend class="visually-hidden">{t('search.filters')}</legend>
      <Choice
        label={t('search.camera')}
        value={filter.camera}
        options={cameras.map((camera) => [camera.id, camera.name])}
        onChange={(camera) => onChange({ ...filter, camera })}
      />
      <Choice
        label={t('search.class')}
        value={filter.label}
        options={CLASSES.map((label) => [label, nameOfClass(label)])}
        onChange={(label) => onChange({ ...filter, label })}
      />
      <Choice
        label={t('search.colour')}
        value={filter.colour}
        options={COLOURS.map((colour) => [colour, t(`colour.${colour}` as MessageKey)])}
        onChange={(chosen) =>
          onChange({ ...filter, colour: COLOURS.find((colour) => colour === chosen) ?? '' })
        }
      />
    </fieldset>
  );
}

function Choice(props: {
  label: string;
  value: string;
  options: readonly (readonly [string, string])[];
  onChange: (value: string) => void;
}) {
  return (
    <label class="field">
      <span>{props.label}</span>
      <select value={props.value} onChange={(event) => props.onChange(event.currentTarget.value)}>
        <option value="">{t('search.any')}</option>
        {props.options.map(([value, name]) => (
          <option key={value} value={value}>
            {name}
          </option>
        ))}
      </select>
    </label>
  );
}

export function Objects(props: {
  workspace: Workspace;
  title: string;
  none: string;
  objects: readonly (Sighting | Match)[];
  onMore: (object: Sighting) => void;
}) {
  const [erasing, setErasing] = useState<Sighting | null>(null);
  const { workspace } = props;
  if (props.objects.length === 0) return <p class="quiet-text">{props.none}</p>;
  return (
    <section aria-label={props.title}>
      <h3>{props.title}</h3>
      <ol class="matches">
        {props.objects.map((object) => (
          <li key={`${object.camera} ${object.track}`} class="match">
            <ObjectCard workspace={workspace} object={object}>
              <button type="button" class="button quiet" onClick={() => props.onMore(object)}>
                {t('search.more')}
              </button>
              {workspace.can('erasure.manage') ? (
                <button type="button" class="button quiet" onClick={() => setErasing(object)}>
                  {t('erasure.action')}
                </button>
              ) : null}
            </ObjectCard>
          </li>
        ))}
      </ol>
      {erasing ? (
        <EraseDialog api={workspace.api} object={erasing} onClose={() => setErasing(null)} />
      ) : null}
    </section>
  );
}

export function ObjectCard(props: {
  workspace: Workspace;
  object: Sighting | Match;
  children?: ComponentChildren;
}) {
  const { workspace, object } = props;
  const colour = object.colour ? ` · ${t(`colour.${object.colour}` as MessageKey)}` : '';
  return (
    <>
      <BlobImage
        api={workspace.api}
        path={object.snapshot}
        alt={nameOfClass(object.label)}
        fallback={t('alarm.noSnapshot')}
      />
      <div class="match-text">
        {'score' in object ? <Likeness score={object.score} /> : null}
        <span>
          <ClassDot label={object.label} /> {nameOfClass(object.label)}
          {colour} · {workspace.camera(object.camera)?.name ?? object.camera}
        </span>
        <span class="alarm-when">
          {t('search.seen', {
            from: formatTime(object.firstSeenMs),
            to: formatTime(object.lastSeenMs),
          })}
        </span>
        {props.children}
      </div>
    </>
  );
}

function Likeness({ score }: { score: number }) {
  const share = Math.max(0, score);
  return (
    <>
      <strong>{t('search.score', { percent: formatNumber(share * 100) })}</strong>
      <meter min={0} max={1} value={share} aria-hidden="true" />
    </>
  );
}
