"""`python -m spfde_exp.runs VERB`: what to do with the runs of a folder. One module of `verbs` each. Needs no torch."""

import sys
from argparse import RawDescriptionHelpFormatter
from importlib import import_module

from spfde_exp.cli import OneLineParser, guarded
from spfde_exp.errors import UserError

VERBS = {
    "log": "print what the job of a run wrote, also while it writes",
    "show": "tell all about one run: settings, plan, state, result, origin",
    "diff": "compare two runs: settings that differ, results side by side",
    "rerun": "train runs again from the start",
    "retry": "train what failed, or what nobody works at any more",
    "cancel": "stop runs that are running, and drop those that wait",
    "rm": "remove run folders; without --yes only tell which",
}


def main() -> None:
    """The command."""

    def command() -> None:
        words = sys.argv[1:]
        if words and words[0] in VERBS:
            verb = words.pop(0)
            module = import_module(f"spfde_exp.verbs.{verb}")
            parser = OneLineParser(
                prog=f"python -m spfde_exp.runs {verb}",
                description=str(module.__doc__),
            )
            module.add_arguments(parser)
            module.run(parser.parse_intermixed_args(words))
            return
        lines = "\n".join(f"  {verb:7} {text}" for verb, text in VERBS.items())
        parser = OneLineParser(
            prog="python -m spfde_exp.runs",
            usage="python -m spfde_exp.runs VERB [--runs DIR] ...",
            description=f"verbs:\n{lines}\n\npython -m spfde_exp.runs VERB --help tells more.",
            formatter_class=RawDescriptionHelpFormatter,
        )
        if words and words[0].startswith("-") and words[0] not in ("-h", "--help"):
            raise UserError(f"the verb comes before {words[0]}; allowed: {', '.join(VERBS)}")
        parser.add_argument("verb", choices=VERBS)
        parser.parse_args(words)

    guarded(command)


if __name__ == "__main__":
    main()
