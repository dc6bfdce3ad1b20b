"""Git: repositories on disk, serving the wire, hooks, forks, pins, maintenance."""

from stepwell.repos.names import check_name as check_name
from stepwell.repos.objects import Bounds as Bounds
from stepwell.repos.objects import Changes as Changes
from stepwell.repos.objects import CommitInfo as CommitInfo
from stepwell.repos.objects import Person as Person
from stepwell.repos.objects import TreeEntry as TreeEntry
from stepwell.repos.push import NO_COMMIT as NO_COMMIT
from stepwell.repos.push import PushContext as PushContext
from stepwell.repos.push import PushHandler as PushHandler
from stepwell.repos.push import RefUpdate as RefUpdate
from stepwell.repos.reader import Reader as Reader
from stepwell.repos.repositories import Repositories as Repositories
