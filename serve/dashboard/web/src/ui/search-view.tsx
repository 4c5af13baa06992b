import { useEffect, useRef, useState } from 'preact/hooks';
import type { Match } from '../domain/types';
import { formatNumber, formatTime, nameOfClass, t } from '../i18n';
import type { Workspace } from '../state/workspace';
import { ClassDot } from './alarm-feed';
import { BlobImage } from './blob-image';
import { SearchIcon } from './icons';
import { explain } from './trouble';

type Outcome =
  | { readonly kind: 'idle' }
  | { readonly kind: 'busy' }
  | { readonly kind: 'failed'; readonly text: string }
  | { readonly kind: 'found'; readonly matches: readonly Match[] };

export function SearchView({ workspace }: { workspace: Workspace }) {
  const [query, setQuery] = useState<string | null>(null);
  const [outcome, setOutcome] = useState<Outcome>({ kind: 'idle' });
  const running = useRef<AbortController | null>(null);

  const search = async (file: Blob | null | undefined) => {
    if (!file) return;
    running.current?.abort();
    if (!file.type.startsWith('image/')) {
      setOutcome({ kind: 'failed', text: t('search.notPicture') });
      return;
    }
    const abort = new AbortController();
    running.current = abort;
    setQuery(URL.createObjectURL(file));
    setOutcome({ kind: 'busy' });
    try {
      const matches = await workspace.api.search(file, abort.signal);
      setOutcome({ kind: 'found', matches });
    } catch (error) {
      if (!abort.signal.aborted) setOutcome({ kind: 'failed', text: explain(error) });
    }
  };
  useEffect(() => () => running.current?.abort(), []);
  useEffect(() => {
    if (query === null) return;
    return () => URL.revokeObjectURL(query);
  }, [query]);
  usePaste(search);

  return (
    <>
      <h2>{t('search.title')}</h2>
      <p class="lead">{t('search.text')}</p>
      <DropZone query={query} onFile={search} />
      <div aria-live="polite">
        {outcome.kind === 'busy' ? (
          <p class="quiet-text with-spinner">
            <span class="spinner" />
            {t('search.busy')}
          </p>
        ) : null}
        {outcome.kind === 'failed' ? (
          <p class="banner" role="alert">
            {outcome.text}
          </p>
        ) : null}
        {outcome.kind === 'found' ? (
          <Results workspace={workspace} matches={outcome.matches} />
        ) : null}
      </div>
    </>
  );
}

function DropZone(props: {
  query: string | null;
  onFile: (file: Blob | null | undefined) => void;
}) {
  const [over, setOver] = useState(false);
  return (
    <label
      class={`drop${over ? ' over' : ''}`}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        props.onFile(event.dataTransfer?.files[0]);
      }}
    >
      {props.query ? (
        <img src={props.query} alt={t('search.query')} />
      ) : (
        <span class="drop-icon">
          <SearchIcon size={32} />
        </span>
      )}
      <span class="drop-text">
        <span class="button">{t('search.choose')}</span>
        <span>{t('search.drop')}</span>
      </span>
      <input
        type="file"
        class="visually-hidden"
        accept="image/jpeg,image/png,image/webp"
        onChange={(event) => {
          props.onFile(event.currentTarget.files?.[0]);
          event.currentTarget.value = '';
        }}
      />
    </label>
  );
}

function Results({ workspace, matches }: { workspace: Workspace; matches: readonly Match[] }) {
  if (matches.length === 0) return <p class="quiet-text">{t('search.none')}</p>;
  return (
    <section aria-label={t('search.results')}>
      <ol class="matches">
        {matches.map((match) => (
          <li key={`${match.camera} ${match.track}`} class="match">
            <BlobImage
              api={workspace.api}
              path={match.snapshot}
              alt={nameOfClass(match.label)}
              fallback={t('alarm.noSnapshot')}
            />
            <div class="match-text">
              <strong>
                {t('search.score', { percent: formatNumber(Math.max(0, match.score) * 100) })}
              </strong>
              <meter min={0} max={1} value={Math.max(0, match.score)} aria-hidden="true" />
              <span>
                <ClassDot label={match.label} /> {nameOfClass(match.label)} ·{' '}
                {workspace.camera(match.camera)?.name ?? match.camera}
              </span>
              <span class="alarm-when">
                {t('search.seen', {
                  from: formatTime(match.firstSeenMs),
                  to: formatTime(match.lastSeenMs),
                })}
              </span>
            </div>
          </li>
        ))}
      </ol>
    </section>
  );
}

function usePaste(onFile: (file: Blob | null | undefined) => void): void {
  const latest = useRef(onFile);
  latest.current = onFile;
  useEffect(() => {
    const onPaste = (event: ClipboardEvent) => {
      const file = [...(event.clipboardData?.files ?? [])].find((f) => f.type.startsWith('image/'));
      if (file) latest.current(file);
    };
    window.addEventListener('paste', onPaste);
    return () => window.removeEventListener('paste', onPaste);
  }, []);
}
