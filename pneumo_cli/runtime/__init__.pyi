from pneumo_cli.runtime.progress import Progress as Progress
from pneumo_cli.runtime.seeding import derive as derive
from pneumo_cli.runtime.seeding import seed_all as seed_all
