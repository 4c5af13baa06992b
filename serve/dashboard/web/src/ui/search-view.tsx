import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { ANY_TIME, type TimeDraft, timeDraftProblem, toTimeRange } from '../domain/time-range';
import type { Match, Sighting, SightingFilter, SightingKind } from '../domain/types';
import { t } from '../i18n';
import type { Workspace } from '../state/workspace';
import { SearchIcon } from './icons';
import { EVERYTHING, ObjectCard, ObjectFilters, Objects } from './objects';
import { TimeFilter } from './time-filter';
import { explain } from './trouble';

const RECENT = 40;

/** What is searched for: a picture of the user's, or an object that was seen. */
type Question =
  | { readonly kind: 'picture'; readonly file: Blob; readonly url: string }
  | { readonly kind: 'object'; readonly object: Sighting };

type Outcome =
  | { readonly kind: 'unasked' }
  | { readonly kind: 'busy' }
  | { readonly kind: 'failed'; readonly text: string }
  | { readonly kind: 'recent'; readonly objects: readonly Sighting[] }
  | { readonly kind: 'found'; readonly matches: readonly Match[] };

export function SearchView({ workspace }: { workspace: Workspace }) {
  const [question, setQuestion] = useState<Question | null>(null);
  const [wanted, setWanted] = useState<SightingKind>(EVERYTHING);
  const [times, setTimes] = useState<TimeDraft>(ANY_TIME);
  const filter = useMemo(
    () => (timeDraftProblem(times) ? null : { ...wanted, ...toTimeRange(times) }),
    [wanted, times],
  );
  const [outcome, setOutcome] = useState<Outcome>({ kind: 'busy' });

  const take = (file: Blob | null | undefined) => {
    if (!file) return;
    if (file.type.startsWith('image/')) {
      setQuestion({ kind: 'picture', file, url: URL.createObjectURL(file) });
    } else {
      setOutcome({ kind: 'failed', text: t('search.notPicture') });
    }
  };
  useEffect(() => {
    if (question?.kind !== 'picture') return;
    return () => URL.revokeObjectURL(question.url);
  }, [question]);
  useEffect(() => {
    // Nor is there anything to show: the objects below would be those of another time.
    if (!filter) return setOutcome({ kind: 'unasked' });
    const abort = new AbortController();
    const ask = async () => {
      setOutcome({ kind: 'busy' });
      try {
        const answer = await answerTo(workspace, question, filter, abort.signal);
        if (!abort.signal.aborted) setOutcome(answer);
      } catch (error) {
        if (!abort.signal.aborted) setOutcome({ kind: 'failed', text: explain(error) });
      }
    };
    void ask();
    return () => abort.abort();
  }, [workspace, question, filter]);
  usePaste(take);

  const more = (object: Sighting) => {
    setQuestion({ kind: 'object', object });
    window.scrollTo({ top: 0 });
  };
  return (
    <>
      <h2>{t('search.title')}</h2>
      <p class="lead">{t('search.text')}</p>
      <DropZone query={question?.kind === 'picture' ? question.url : null} onFile={take} />
      <ObjectFilters workspace={workspace} filter={wanted} onChange={setWanted} />
      <TimeFilter draft={times} onChange={setTimes} />
      {question ? (
        <div class="asked">
          {question.kind === 'object' ? (
            <ObjectCard workspace={workspace} object={question.object} />
          ) : null}
          <button type="button" class="button" onClick={() => setQuestion(null)}>
            {t('search.backToRecent')}
          </button>
        </div>
      ) : null}
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
        {outcome.kind === 'recent' ? (
          <Objects
            workspace={workspace}
            title={t('search.recent')}
            none={t('search.recentNone')}
            objects={outcome.objects}
            onMore={more}
          />
        ) : null}
        {outcome.kind === 'found' ? (
          <Objects
            workspace={workspace}
            title={t('search.results')}
            none={t('search.none')}
            objects={outcome.matches}
            onMore={more}
          />
        ) : null}
      </div>
    </>
  );
}

async function answerTo(
  workspace: Workspace,
  question: Question | null,
  filter: SightingFilter,
  signal: AbortSignal,
): Promise<Outcome> {
  if (question === null) {
    return { kind: 'recent', objects: await workspace.api.objects(RECENT, filter, signal) };
  }
  const matches =
    question.kind === 'picture'
      ? await workspace.api.search(question.file, filter, signal)
      : await workspace.api.like(question.object, filter, signal);
  return { kind: 'found', matches };
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
