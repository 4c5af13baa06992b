/** Which camera groups a user or key is limited to. */

import type { CameraGroup } from '../domain/access';
import { t } from '../i18n';
import { ChoiceField } from './choice-field';

/** For a table: the names of the groups, or that all cameras are seen. */
export function groupNames(
  groups: readonly string[] | null,
  known: readonly CameraGroup[],
): string {
  if (groups === null) return t('access.cameras.all');
  return groups.map((id) => known.find((group) => group.id === id)?.name ?? id).join(', ');
}

/** What the API takes: nothing at all where no group is chosen, or the role sees all cameras. */
export function chosenGroups(
  role: string,
  groups: readonly string[],
): { readonly groups?: readonly string[] } {
  return role === 'admin' || groups.length === 0 ? {} : { groups };
}

export interface GroupsFieldProps {
  readonly role: string;
  readonly known: readonly CameraGroup[];
  readonly value: readonly string[];
  readonly onChange: (groups: readonly string[]) => void;
}

export function GroupsField({ role, known, value, onChange }: GroupsFieldProps) {
  const offered = role === 'admin' ? [] : known;
  return (
    <ChoiceField
      legend={t('access.cameras')}
      hint={hint(role, known, value)}
      names={new Map(offered.map(({ id, name }) => [id, name]))}
      value={value}
      onChange={onChange}
    />
  );
}

function hint(role: string, known: readonly CameraGroup[], value: readonly string[]): string {
  if (role === 'admin') return t('access.cameras.admin');
  if (value.length > 0) return t('access.cameras.limited');
  return t(known.length === 0 ? 'access.cameras.noGroups' : 'access.cameras.hint');
}
