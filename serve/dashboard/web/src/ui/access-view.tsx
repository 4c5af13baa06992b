/** Access to the tenant: users, keys and their camera groups, and the anonymisation policy. */

import type { Workspace } from '../state/workspace';
import { AnonymisationPolicy } from './anonymisation';
import { Groups } from './groups';
import { Keys } from './keys';
import { useList } from './use-list';
import { Users } from './users';

export function AccessView({ workspace }: { workspace: Workspace }) {
  const { api } = workspace;
  const manages = workspace.can('group.manage');
  const groups = useList((signal) => (manages ? api.groups(signal) : Promise.resolve([])));
  const known = groups.items ?? [];
  return (
    <>
      {workspace.can('user.manage') ? <Users api={api} groups={known} /> : null}
      {workspace.can('key.manage') ? <Keys api={api} groups={known} /> : null}
      {manages ? <Groups api={api} groups={groups} /> : null}
      {workspace.can('privacy.manage') ? <AnonymisationPolicy workspace={workspace} /> : null}
    </>
  );
}
