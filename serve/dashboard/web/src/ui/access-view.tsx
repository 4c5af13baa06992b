/** Who may use the tenant: people and programs. */

import type { Workspace } from '../state/workspace';
import { Keys } from './keys';
import { Users } from './users';

export function AccessView({ workspace }: { workspace: Workspace }) {
  return (
    <>
      {workspace.can('user.manage') ? <Users api={workspace.api} /> : null}
      {workspace.can('key.manage') ? <Keys api={workspace.api} /> : null}
    </>
  );
}
