from pneumo_cli.installation import pip_install as pip_install
from pneumo_cli.runtime.atomic import replace_file as replace_file
from pneumo_cli.runtime.atomic import write_text as write_text
from pneumo_cli.runtime.garbage import uncollected as uncollected
from pneumo_cli.runtime.progress import Progress as Progress
from pneumo_cli.runtime.seeding import derive as derive
from pneumo_cli.runtime.seeding import seed_all as seed_all
