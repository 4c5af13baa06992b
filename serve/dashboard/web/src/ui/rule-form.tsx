/** The fields of a rule that is being written. */

import {
  DIRECTIONS,
  RULE_KINDS,
  type RuleKind,
  type ScheduleWindow,
  WEEKDAYS,
} from '../domain/types';
import { type MessageKey, nameOfClass, t } from '../i18n';
import { NIGHT, type RuleDraft, toggle, withKind } from '../rules/draft';
import { ClassDot } from './alarm-feed';
import { Toggle } from './toggle';

/** The classes that people ask for most; what the camera sees now is offered with them. */
const COMMON_CLASSES = ['person', 'bicycle', 'car', 'motorcycle', 'bus', 'truck', 'dog', 'cat'];

export interface RuleFormProps {
  readonly draft: RuleDraft;
  readonly seen: readonly string[];
  readonly timezone: string;
  readonly onChange: (draft: RuleDraft) => void;
}

interface FieldProps {
  readonly draft: RuleDraft;
  readonly set: (changes: Partial<RuleDraft>) => void;
}

export function RuleForm({ draft, seen, timezone, onChange }: RuleFormProps) {
  const set = (changes: Partial<RuleDraft>) => onChange({ ...draft, ...changes });
  return (
    <div class="form rule-form">
      <label class="field">
        <span>{t('rule.kind')}</span>
        <select
          name="kind"
          value={draft.kind}
          onChange={(event) => onChange(withKind(draft, event.currentTarget.value as RuleKind))}
        >
          {RULE_KINDS.map((kind) => (
            <option key={kind} value={kind}>
              {t(`rule.kind.${kind}` as MessageKey)}
            </option>
          ))}
        </select>
      </label>
      <label class="field">
        <span>{t('rule.name')}</span>
        <input
          name="name"
          type="text"
          maxLength={120}
          value={draft.name}
          onInput={(event) => set({ name: event.currentTarget.value })}
        />
      </label>
      <ClassChoice
        chosen={draft.classes}
        offered={[...new Set([...COMMON_CLASSES, ...seen, ...draft.classes])]}
        onChange={(classes) => set({ classes })}
      />
      <div class="field-row">
        <KindFields draft={draft} set={set} />
        <Thresholds draft={draft} set={set} />
      </div>
      <ScheduleFields
        window={draft.window}
        timezone={timezone}
        onChange={(window) => set({ window })}
      />
    </div>
  );
}

function Thresholds({ draft, set }: FieldProps) {
  return (
    <>
      <NumberField
        name="confidence"
        label={t('rule.confidence')}
        unit="%"
        value={Math.round(draft.minConfidence * 100)}
        min={0}
        max={100}
        onInput={(percent) => set({ minConfidence: percent / 100 })}
      />
      <NumberField
        name="cooldown"
        label={t('rule.cooldown')}
        unit="s"
        value={draft.cooldownS}
        min={0}
        max={86_400}
        onInput={(cooldownS) => set({ cooldownS })}
      />
    </>
  );
}

function KindFields({ draft, set }: FieldProps) {
  const seconds = (
    <NumberField
      name="seconds"
      label={t('rule.seconds')}
      unit="s"
      value={draft.seconds}
      min={0}
      max={86_400}
      onInput={(value) => set({ seconds: value })}
    />
  );
  switch (draft.kind) {
    case 'zone_entry':
      return null;
    case 'loiter':
      return seconds;
    case 'count':
      return (
        <>
          <NumberField
            name="n"
            label={t('rule.n')}
            value={draft.n}
            min={1}
            max={1_000}
            onInput={(n) => set({ n })}
          />
          {seconds}
        </>
      );
    case 'line_cross':
      return (
        <label class="field">
          <span>{t('rule.direction')}</span>
          <select
            name="direction"
            value={draft.direction}
            onChange={(event) =>
              set({ direction: event.currentTarget.value as RuleDraft['direction'] })
            }
          >
            {DIRECTIONS.map((direction) => (
              <option key={direction} value={direction}>
                {t(`rule.direction.${direction}` as MessageKey)}
              </option>
            ))}
          </select>
        </label>
      );
  }
}

function ClassChoice(props: {
  chosen: readonly string[];
  offered: readonly string[];
  onChange: (classes: readonly string[]) => void;
}) {
  const { chosen, offered, onChange } = props;
  return (
    <fieldset class="field">
      <legend>{t('rule.classes')}</legend>
      <div class="toggles">
        <Toggle pressed={chosen.length === 0} onClick={() => onChange([])}>
          {t('rule.classes.any')}
        </Toggle>
        {offered.map((label) => (
          <Toggle
            key={label}
            pressed={chosen.includes(label)}
            onClick={() => onChange(toggle(chosen, label))}
          >
            <ClassDot label={label} />
            {nameOfClass(label)}
          </Toggle>
        ))}
      </div>
    </fieldset>
  );
}

function ScheduleFields(props: {
  window: ScheduleWindow | null;
  timezone: string;
  onChange: (window: ScheduleWindow | null) => void;
}) {
  const { window, timezone, onChange } = props;
  return (
    <fieldset class="field">
      <legend>{t('rule.schedule')}</legend>
      <div class="toggles">
        <Toggle pressed={window === null} onClick={() => onChange(null)}>
          {t('rule.schedule.always')}
        </Toggle>
        <Toggle pressed={window !== null} onClick={() => onChange(window ?? NIGHT)}>
          {t('rule.schedule.window')}
        </Toggle>
      </div>
      {window ? (
        <>
          <div class="field-row times">
            <TimeField
              label={t('rule.from')}
              value={window.start}
              onInput={(start) => onChange({ ...window, start })}
            />
            <TimeField
              label={t('rule.to')}
              value={window.end}
              onInput={(end) => onChange({ ...window, end })}
            />
          </div>
          {/* biome-ignore lint/a11y/useSemanticElements: it is in a fieldset already. */}
          <div class="toggles days" role="group" aria-label={t('rule.days')}>
            {WEEKDAYS.map((day) => (
              <Toggle
                key={day}
                pressed={window.days.includes(day)}
                onClick={() => onChange({ ...window, days: toggle(window.days, day) })}
              >
                {t(`day.${day}` as MessageKey)}
              </Toggle>
            ))}
          </div>
          <small>{t('rule.zone', { timezone })}</small>
        </>
      ) : null}
    </fieldset>
  );
}

function NumberField(props: {
  name: string;
  label: string;
  unit?: string;
  value: number;
  min: number;
  max: number;
  onInput: (value: number) => void;
}) {
  return (
    <label class="field">
      <span>{props.label}</span>
      <span class="with-unit">
        <input
          name={props.name}
          type="number"
          min={props.min}
          max={props.max}
          // NaN while the field is empty: the form then says what is missing.
          value={Number.isNaN(props.value) ? '' : props.value}
          onInput={(event) => props.onInput(event.currentTarget.valueAsNumber)}
        />
        {props.unit ? <span class="unit">{props.unit}</span> : null}
      </span>
    </label>
  );
}

function TimeField(props: { label: string; value: string; onInput: (value: string) => void }) {
  return (
    <label class="field">
      <span>{props.label}</span>
      <input
        type="time"
        required
        // "24:00" is the API's end of day, which a time field does not know.
        value={props.value === '24:00' ? '00:00' : props.value}
        onInput={(event) => props.onInput(event.currentTarget.value)}
      />
    </label>
  );
}
