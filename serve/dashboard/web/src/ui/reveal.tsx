/** Says that persons are hidden in a clip, and lets those who may see the original, with a reason. */

import { useState } from 'preact/hooks';
import type { Api } from '../api/client';
import { MAX_REASON, MIN_REASON, REVEAL_MINUTES } from '../domain/anonymisation';
import type { Clip } from '../domain/types';
import { t } from '../i18n';
import { TextField } from './text-field';
import { explain } from './trouble';
import { useSubmit } from './use-submit';

export interface RevealProps {
  readonly api: Api;
  readonly alarm: string;
  readonly clip: Clip;
  readonly may: boolean;
  /** The clip has another address now. */
  readonly onChange: () => void;
}

export function Reveal({ api, alarm, clip, may, onChange }: RevealProps) {
  const [asking, setAsking] = useState(false);
  if (clip.reveal !== null) return <Revealed api={api} reveal={clip.reveal} onEnd={onChange} />;
  if (!clip.anonymised) return null;
  return (
    <div class="reveal" data-reveal={asking ? 'asking' : 'hidden'}>
      <p class="banner small">{t('reveal.hidden')}</p>
      {may && !asking ? (
        <button type="button" class="button quiet" onClick={() => setAsking(true)}>
          {t('reveal.open')}
        </button>
      ) : null}
      {asking ? (
        <RevealForm
          onReveal={async (reason, minutes) => {
            await api.reveal(alarm, reason, minutes);
            setAsking(false);
            onChange();
          }}
        />
      ) : null}
    </div>
  );
}

function Revealed({ api, reveal, onEnd }: { api: Api; reveal: string; onEnd: () => void }) {
  const [error, setError] = useState<string | null>(null);
  const end = async () => {
    try {
      await api.endReveal(reveal);
      onEnd();
    } catch (failure) {
      setError(explain(failure));
    }
  };
  return (
    <div class="reveal" data-reveal="shown">
      <p class="banner small">{t('reveal.shown')}</p>
      <button type="button" class="button quiet" onClick={end}>
        {t('reveal.end')}
      </button>
      <p class="form-error" role="alert">
        {error}
      </p>
    </div>
  );
}

function RevealForm(props: { onReveal: (reason: string, minutes: number) => Promise<void> }) {
  const [reason, setReason] = useState('');
  const [minutes, setMinutes] = useState<number>(10);
  const given = reason.trim();
  const unfit = given.length < MIN_REASON || given.length > MAX_REASON;
  const { busy, error, submit } = useSubmit(
    () => (unfit ? t('reveal.reason.missing') : null),
    () => props.onReveal(given, minutes),
  );
  return (
    <form class="form" onSubmit={submit} noValidate>
      <TextField
        label={t('reveal.reason')}
        hint={t('reveal.reason.hint')}
        value={reason}
        invalid={error !== null}
        onInput={setReason}
      />
      <label class="field">
        <span>{t('reveal.minutes')}</span>
        <select value={minutes} onChange={(event) => setMinutes(Number(event.currentTarget.value))}>
          {REVEAL_MINUTES.map((count) => (
            <option key={count} value={count}>
              {count}
            </option>
          ))}
        </select>
      </label>
      <p class="form-error" role="alert">
        {error}
      </p>
      <button type="submit" class="button primary" disabled={busy}>
        {t('reveal.submit')}
      </button>
    </form>
  );
}
