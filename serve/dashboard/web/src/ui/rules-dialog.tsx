import { useState } from 'preact/hooks';
import type { Camera, Rule } from '../domain/types';
import { formatNumber, type MessageKey, nameOfClass, t } from '../i18n';
import { draftProblem, NEW_DRAFT, type RuleDraft, toRule } from '../rules/draft';
import type { Workspace } from '../state/workspace';
import { kindText } from './alarm-feed';
import { Dialog } from './dialog';
import { TrashIcon } from './icons';
import { Outline, RegionEditor, type RegionEditorProps } from './region-editor';
import { RuleForm } from './rule-form';
import { RulePicture } from './rule-picture';
import { useRules } from './use-rules';

export interface RulesDialogProps {
  readonly workspace: Workspace;
  readonly camera: Camera;
  readonly onClose: () => void;
}

export function RulesDialog({ workspace, camera, onClose }: RulesDialogProps) {
  const timezone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const { rules, busy, error, setError, add, remove } = useRules(workspace.api, camera.id);
  const [draft, setDraft] = useState<RuleDraft>(NEW_DRAFT);

  const change = (next: RuleDraft) => {
    setDraft(next);
    setError(null);
  };
  const submit = async (event: Event) => {
    event.preventDefault();
    const problem = draftProblem(draft);
    if (problem) return setError(t(`rule.problem.${problem}` as MessageKey));
    if (await add(toRule(draft, timezone))) change({ ...NEW_DRAFT, kind: draft.kind });
  };

  if (!workspace.can('rule.manage')) {
    return (
      <Dialog title={t('rule.title', { camera: camera.name })} wide onClose={onClose}>
        <div class="rules-read">
          <RulePicture workspace={workspace} camera={camera}>
            {(aspect) => <ExistingOutlines rules={rules ?? []} aspect={aspect} />}
          </RulePicture>
          <p class="form-error" role="alert">
            {error}
          </p>
          <RuleList rules={rules} failed={error !== null} onRemove={null} />
        </div>
      </Dialog>
    );
  }
  return (
    <Dialog title={t('rule.title', { camera: camera.name })} wide onClose={onClose}>
      <form class="rules" onSubmit={submit} noValidate>
        <div class="rules-draw">
          <DrawingBoard
            workspace={workspace}
            camera={camera}
            rules={rules ?? []}
            draft={draft}
            onChange={(points) => change({ ...draft, points })}
          />
          <RuleList rules={rules} failed={error !== null} onRemove={remove} />
        </div>
        <div class="rules-side">
          <h3>{t('rule.new')}</h3>
          <RuleForm
            draft={draft}
            seen={workspace.players.get(camera.id)?.labels ?? []}
            timezone={timezone}
            onChange={change}
          />
          <p class="form-error" role="alert">
            {error}
          </p>
          <button type="submit" class="button primary block" disabled={busy}>
            {t('rule.add')}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function DrawingBoard(props: {
  workspace: Workspace;
  camera: Camera;
  rules: readonly Rule[];
  draft: RuleDraft;
  onChange: RegionEditorProps['onChange'];
}) {
  const { draft } = props;
  const line = draft.kind === 'line_cross';
  return (
    <>
      <RulePicture workspace={props.workspace} camera={props.camera}>
        {(aspect) => (
          <>
            <ExistingOutlines rules={props.rules} aspect={aspect} />
            <RegionEditor
              shape={line ? 'line' : 'zone'}
              points={draft.points}
              aspect={aspect}
              arrow={line ? arrowOf(draft) : 'none'}
              onChange={props.onChange}
            />
          </>
        )}
      </RulePicture>
      <p class="draw-help">
        {t(line ? 'draw.line' : 'draw.zone')} {t('draw.keys')}
      </p>
    </>
  );
}

/** Always from left to right: the choice of the direction reads with or against the arrow. */
function arrowOf({ direction }: RuleDraft): RegionEditorProps['arrow'] {
  return direction === 'any' ? 'none' : 'forward';
}

function ExistingOutlines({ rules, aspect }: { rules: readonly Rule[]; aspect: number }) {
  return (
    <svg class="region existing" viewBox={`0 0 1000 ${1000 / aspect}`} aria-hidden="true">
      {rules.map((rule) => (
        <Outline
          key={rule.id}
          faint
          shape={rule.kind === 'line_cross' ? 'line' : 'zone'}
          points={rule.kind === 'line_cross' ? rule.line : rule.polygon}
          aspect={aspect}
          arrow={
            rule.kind !== 'line_cross' || rule.direction === 'any'
              ? 'none'
              : rule.direction === 'left_to_right'
                ? 'forward'
                : 'backward'
          }
        />
      ))}
    </svg>
  );
}

function RuleList(props: {
  rules: readonly Rule[] | null;
  failed: boolean;
  /** Null where the role may not. */
  onRemove: ((rule: Rule) => void) | null;
}) {
  const { rules, failed, onRemove } = props;
  if (rules === null) return failed ? null : <p class="quiet-text">{t('rule.loading')}</p>;
  if (rules.length === 0) {
    return <p class="quiet-text">{t(onRemove ? 'rule.none' : 'rule.none.read')}</p>;
  }
  return (
    <section aria-label={t('rule.existing')}>
      <h3>{t('rule.existing')}</h3>
      <ul class="rule-list">
        {rules.map((rule) => (
          <li key={rule.id} data-rule={rule.id}>
            <div>
              <strong>{rule.name || kindText(rule.kind)}</strong>
              <span>{describe(rule)}</span>
            </div>
            {onRemove ? (
              <button
                type="button"
                class="icon-button"
                aria-label={t('rule.delete', { name: rule.name || rule.id })}
                title={t('rule.delete', { name: rule.name || rule.id })}
                onClick={() => onRemove(rule)}
              >
                <TrashIcon />
              </button>
            ) : null}
          </li>
        ))}
      </ul>
    </section>
  );
}

/** One line: what, how, from which confidence on, when. */
function describe(rule: Rule): string {
  const classes = rule.classes.map(nameOfClass).join(', ') || t('rule.anything');
  const how =
    rule.kind === 'loiter'
      ? ` · ${formatNumber(rule.seconds)} s`
      : rule.kind === 'count'
        ? ` · ≥ ${rule.n} · ${formatNumber(rule.seconds)} s`
        : '';
  const when = rule.schedule
    ? rule.schedule.windows.map((window) => `${window.start}–${window.end}`).join(', ')
    : t('rule.always');
  const kind = rule.name ? `${kindText(rule.kind)} · ` : '';
  return `${kind}${classes}${how} · ≥ ${formatNumber(rule.min_confidence * 100)}% · ${when}`;
}
