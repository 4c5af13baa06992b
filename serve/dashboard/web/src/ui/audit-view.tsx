/** The audit log of the tenant: who saw or changed what, newest first. */

import { useEffect, useRef, useState } from 'preact/hooks';
import type { AuditEntry, AuditFilter } from '../domain/types';
import { formatTime, t } from '../i18n';
import type { Workspace } from '../state/workspace';
import { Table } from './table';
import { explain } from './trouble';

const ALL: AuditFilter = { actor: '', action: '' };
/** Requests are made once a pause in typing shows that the filter is meant. */
const TYPING_MS = 400;

export function AuditView({ workspace }: { workspace: Workspace }) {
  const [filter, setFilter] = useState<AuditFilter>(ALL);
  const log = useAudit(workspace, filter);
  return (
    <section class="page-section" aria-label={t('nav.audit')}>
      <h2>{t('nav.audit')}</h2>
      <p class="quiet-text">{t('audit.text')}</p>
      <div class="field-row">
        <FilterField
          label={t('audit.actor')}
          example="key:3kd82hs9"
          value={filter.actor}
          known={log.entries?.map((entry) => entry.actor) ?? []}
          onInput={(actor) => setFilter({ ...filter, actor })}
        />
        <FilterField
          label={t('audit.action')}
          example="camera.change"
          value={filter.action}
          known={log.entries?.map((entry) => entry.action) ?? []}
          onInput={(action) => setFilter({ ...filter, action })}
        />
      </div>
      <p class="form-error" role="alert">
        {log.error}
      </p>
      <Entries entries={log.entries} failed={log.error !== null} />
      {log.more ? (
        <button type="button" class="button quiet block" disabled={log.busy} onClick={log.more}>
          {t('audit.more')}
        </button>
      ) : null}
    </section>
  );
}

function FilterField(props: {
  label: string;
  example: string;
  value: string;
  known: readonly string[];
  onInput: (value: string) => void;
}) {
  const list = `known-${props.example}`;
  return (
    <label class="field">
      <span>{props.label}</span>
      <input
        type="search"
        list={list}
        placeholder={props.example}
        value={props.value}
        autocomplete="off"
        autocapitalize="off"
        spellcheck={false}
        onInput={(event) => props.onInput(event.currentTarget.value.trim())}
      />
      <datalist id={list}>
        {[...new Set(props.known)].sort().map((value) => (
          <option key={value} value={value} />
        ))}
      </datalist>
    </label>
  );
}

function Entries({ entries, failed }: { entries: readonly AuditEntry[] | null; failed: boolean }) {
  if (entries === null) return failed ? null : <p class="quiet-text">{t('audit.loading')}</p>;
  if (entries.length === 0) return <p class="quiet-text">{t('audit.none')}</p>;
  return (
    <Table
      columns={[
        t('audit.at'),
        t('audit.actor'),
        t('audit.action'),
        t('audit.object'),
        t('audit.address'),
        t('audit.outcome'),
      ]}
    >
      {entries.map((entry) => (
        <tr key={entry.sequence} data-sequence={entry.sequence}>
          <td>
            <time dateTime={new Date(entry.atMs).toISOString()}>{formatTime(entry.atMs)}</time>
          </td>
          <td>{entry.actor}</td>
          <td>{entry.action}</td>
          <td>
            {entry.object}
            <small>{detailText(entry)}</small>
          </td>
          <td>{entry.address ?? '–'}</td>
          <td>
            <span class={`chip ${entry.refused ? 'offline' : 'live'}`}>
              {t(entry.refused ? 'audit.refused' : 'audit.done')}
            </span>
            <small>{entry.reason}</small>
          </td>
        </tr>
      ))}
    </Table>
  );
}

function detailText({ details }: AuditEntry): string {
  return Object.entries(details)
    .map(([name, value]) => `${name}: ${Array.isArray(value) ? value.join(', ') : String(value)}`)
    .join(' · ');
}

/** The entries that a filter lets through, page by page. */
function useAudit({ api }: Workspace, filter: AuditFilter) {
  const [entries, setEntries] = useState<readonly AuditEntry[] | null>(null);
  const [cursor, setCursor] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const abort = useRef(new AbortController());

  const load = async (after: string | null, before: readonly AuditEntry[]) => {
    const { signal } = abort.current;
    setBusy(true);
    try {
      const page = await api.audit(filter, after, signal);
      setEntries([...before, ...page.items]);
      setCursor(page.nextCursor);
      setError(null);
    } catch (failure) {
      if (!signal.aborted) setError(explain(failure));
    }
    if (!signal.aborted) setBusy(false);
  };
  useEffect(() => {
    abort.current = new AbortController();
    const timer = setTimeout(() => void load(null, []), entries === null ? 0 : TYPING_MS);
    return () => {
      clearTimeout(timer);
      abort.current.abort();
    };
  }, [filter.actor, filter.action]);

  const more = cursor === null ? null : () => void load(cursor, entries ?? []);
  return { entries, busy, error, more };
}
