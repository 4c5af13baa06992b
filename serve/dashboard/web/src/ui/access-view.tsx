/** Who may use the tenant: people and programs; and who is hidden from them. */

import type { Workspace } from '../state/workspace';
import { AnonymisationPolicy } from './anonymisation';
import { Keys } from './keys';
import { Users } from './users';

export function AccessView({ workspace }: { workspace: Workspace }) {
  return (
    <>
      {workspace.can('user.manage') ? <Users api={workspace.api} /> : null}
      {workspace.can('key.manage') ? <Keys api={workspace.api} /> : null}
      {workspace.can('privacy.manage') ? <AnonymisationPolicy workspace={workspace} /> : null}
    </>
  );
}
