/** From when to when: two fields in the user's own time zone, and what is asked for most. */

import { useState } from 'preact/hooks';
import {
  EARLIEST,
  LATEST,
  QUICK_TIMES,
  type QuickTime,
  quickTime,
  type TimeBound,
  type TimeDraft,
  timeDraftProblem,
} from '../domain/time-range';
import { t } from '../i18n';
import { Toggle } from './toggle';

const PROBLEM = 'time-problem';
const HINT = 'time-hint';

export function TimeFilter(props: { draft: TimeDraft; onChange: (draft: TimeDraft) => void }) {
  const { draft, onChange } = props;
  const [choice, setChoice] = useState<QuickTime | null>(null);
  const [choices, setChoices] = useState(0);
  const problem = timeDraftProblem(draft);
  const pressed = draft.from === '' && draft.to === '' ? 'any' : choice;
  const choose = (next: QuickTime) => {
    setChoice(next);
    setChoices(choices + 1);
    onChange(quickTime(next, Date.now()));
  };
  const edit = (changes: Partial<TimeDraft>) => {
    setChoice(null);
    onChange({ ...draft, ...changes });
  };
  const field = (bound: 'from' | 'to') => (
    <TimeField
      label={t(`search.${bound}`)}
      value={draft[bound]}
      invalid={problem === 'order'}
      onInput={(value) => edit({ [bound]: value })}
    />
  );
  return (
    <fieldset class="field">
      <legend>{t('search.time')}</legend>
      <div class="toggles">
        {QUICK_TIMES.map((name) => (
          <Toggle key={name} pressed={pressed === name} onClick={() => choose(name)}>
            {t(`search.time.${name}`)}
          </Toggle>
        ))}
      </div>
      {/* New fields with each choice: a half-written date has no value that could be replaced. */}
      <div class="field-row moments" key={choices}>
        {field('from')}
        {field('to')}
      </div>
      <small id={HINT}>
        {problem === 'unfinished'
          ? t('search.time.unfinished')
          : t('rule.zone', { timezone: Intl.DateTimeFormat().resolvedOptions().timeZone })}
      </small>
      <p id={PROBLEM} class="form-error" role="alert">
        {problem === 'order' ? t('search.time.order') : ''}
      </p>
    </fieldset>
  );
}

function TimeField(props: {
  label: string;
  value: TimeBound;
  invalid: boolean;
  onInput: (value: TimeBound) => void;
}) {
  return (
    <label class="field">
      <span>{props.label}</span>
      <input
        type="datetime-local"
        min={EARLIEST}
        max={LATEST}
        value={props.value ?? ''}
        aria-invalid={props.invalid}
        aria-describedby={`${PROBLEM} ${HINT}`}
        onInput={({ currentTarget }) =>
          props.onInput(currentTarget.validity.badInput ? null : currentTarget.value)
        }
      />
    </label>
  );
}
