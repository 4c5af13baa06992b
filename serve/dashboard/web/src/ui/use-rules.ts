/** The rules of one camera: read once, then kept in step with what is added and removed here. */

import { useEffect, useState } from 'preact/hooks';
import type { Api } from '../api/client';
import type { Rule, RuleBody } from '../domain/types';
import { t } from '../i18n';
import { notify } from '../state/notices';
import { explain } from './trouble';

export function useRules(api: Api, camera: string) {
  const [rules, setRules] = useState<readonly Rule[] | null>(null);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);

  useEffect(() => {
    const abort = new AbortController();
    api.rules(camera, abort.signal).then(setRules, (failure: unknown) => {
      if (!abort.signal.aborted) setError(explain(failure));
    });
    return () => abort.abort();
  }, [api, camera]);

  /** Whether it was stored. */
  const add = async (body: RuleBody): Promise<boolean> => {
    setBusy(true);
    try {
      const { rule, warnings } = await api.addRule(camera, body);
      setRules((before) => [...(before ?? []), rule]);
      notify('good', t('rule.added'));
      for (const warning of warnings) notify('warn', t('rule.warning', { warning }));
      return true;
    } catch (failure) {
      setError(explain(failure));
      return false;
    } finally {
      setBusy(false);
    }
  };
  const remove = async (rule: Rule): Promise<void> => {
    try {
      await api.removeRule(camera, rule.id);
      setRules((before) => before?.filter((other) => other.id !== rule.id) ?? null);
      notify('good', t('rule.deleted'));
    } catch (failure) {
      setError(explain(failure));
    }
  };
  return { rules, busy, error, setError, add, remove };
}
