/** Who is hidden in evidence: the tenant's policy. */

import { useEffect, useState } from 'preact/hooks';
import { type Anonymisation, HIDES, type Hide, STYLES } from '../domain/anonymisation';
import type { Camera } from '../domain/types';
import { t } from '../i18n';
import { notify } from '../state/notices';
import type { Workspace } from '../state/workspace';
import { explain } from './trouble';

export function AnonymisationPolicy({ workspace }: { workspace: Workspace }) {
  const { api } = workspace;
  const [policy, setPolicy] = useState<Anonymisation | null>(null);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);
  useEffect(() => {
    const abort = new AbortController();
    api.anonymisation(abort.signal).then(setPolicy, (failure) => {
      if (!abort.signal.aborted) setError(explain(failure));
    });
    return () => abort.abort();
  }, [api]);
  const save = async (event: Event) => {
    event.preventDefault();
    if (policy === null) return;
    setBusy(true);
    setError(null);
    try {
      setPolicy(await api.setAnonymisation(policy));
      notify('good', t('hide.saved'));
    } catch (failure) {
      setError(explain(failure));
    }
    setBusy(false);
  };
  return (
    <section class="page-section" aria-label={t('hide.title')}>
      <div class="section-head">
        <h2>{t('hide.title')}</h2>
      </div>
      <p class="quiet-text">{t('hide.text')}</p>
      {policy === null ? null : (
        <form class="form" onSubmit={save} noValidate>
          <Fields policy={policy} onChange={setPolicy} />
          <Cameras policy={policy} cameras={workspace.cameras.value ?? []} onChange={setPolicy} />
          <button type="submit" class="button primary" disabled={busy}>
            {t('hide.save')}
          </button>
        </form>
      )}
      <p class="form-error" role="alert">
        {error}
      </p>
    </section>
  );
}

type Change = (policy: Anonymisation) => void;

function Fields({ policy, onChange }: { policy: Anonymisation; onChange: Change }) {
  return (
    <>
      {/* biome-ignore lint/a11y/noLabelWithoutControl: the control is inside HideSelect. */}
      <label class="field">
        <span>{t('hide.all')}</span>
        <HideSelect value={policy.hide} onChange={(hide) => onChange({ ...policy, hide })} />
      </label>
      <label class="field">
        <span>{t('hide.style')}</span>
        <select
          value={policy.style}
          onChange={(event) => {
            const style = STYLES.find((known) => known === event.currentTarget.value);
            if (style !== undefined) onChange({ ...policy, style });
          }}
        >
          {STYLES.map((style) => (
            <option key={style} value={style}>
              {t(`hide.style.${style}`)}
            </option>
          ))}
        </select>
      </label>
      <label class="check">
        <input
          type="checkbox"
          checked={policy.keepAudio}
          onChange={(event) => onChange({ ...policy, keepAudio: event.currentTarget.checked })}
        />
        {t('hide.audio')}
      </label>
    </>
  );
}

function Cameras(props: { policy: Anonymisation; cameras: readonly Camera[]; onChange: Change }) {
  const { policy, cameras, onChange } = props;
  const set = (camera: string, hide: Hide | null) => {
    const others = Object.entries(policy.cameras).filter(([name]) => name !== camera);
    const mine: readonly [string, Hide][] = hide === null ? [] : [[camera, hide]];
    onChange({ ...policy, cameras: Object.fromEntries([...others, ...mine]) });
  };
  return (
    <details>
      <summary>{t('hide.cameras')}</summary>
      {cameras.map((camera) => (
        // biome-ignore lint/a11y/noLabelWithoutControl: the control is inside HideSelect.
        <label key={camera.id} class="field">
          <span>{camera.name}</span>
          <HideSelect
            value={policy.cameras[camera.id] ?? null}
            onChange={(hide) => set(camera.id, hide)}
            onInherit={() => set(camera.id, null)}
          />
        </label>
      ))}
    </details>
  );
}

function HideSelect(props: {
  value: Hide | null;
  onChange: (hide: Hide) => void;
  /** With it there is a choice of what applies to all. */
  onInherit?: () => void;
}) {
  return (
    <select
      value={props.value ?? ''}
      onChange={(event) => {
        const hide = HIDES.find((known) => known === event.currentTarget.value);
        if (hide === undefined) props.onInherit?.();
        else props.onChange(hide);
      }}
    >
      {props.onInherit ? <option value="">{t('hide.inherit')}</option> : null}
      {HIDES.map((hide) => (
        <option key={hide} value={hide}>
          {t(`hide.${hide}`)}
        </option>
      ))}
    </select>
  );
}
