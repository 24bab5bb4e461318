"""What a developer and two agents did on some days, and what one may want to know of it later.

60 events as they are recorded, and 50 questions in the words of somebody who remembers the matter and not
the command. Each question names the event that answers it.

Lives here: the events, the questions, `record`. Not here: what is asserted of them (test_search_quality.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from devtrace.events import EditFiles, Event, FileChange, GitCommit
from devtrace.ids import new_span_id
from devtrace.store.append import append
from tests.recorded import SECOND, START, Recorded


def _ran(command: str, printed: str = "", exit_code: int = 0) -> Callable[[Recorded, int], str]:
    return lambda place, at: place.command(command, at, printed=printed.encode() or None, exit_code=exit_code)


def _told(text: str) -> Callable[[Recorded, int], str]:
    return lambda place, at: place.prompt(text, at)


def _said(text: str) -> Callable[[Recorded, int], str]:
    return lambda place, at: place.said(text, at)


def _noted(text: str) -> Callable[[Recorded, int], str]:
    return lambda place, at: place.note(text, at)


def _used(tool: str, given: Any, **more: Any) -> Callable[[Recorded, int], str]:
    return lambda place, at: place.tool(tool, given, at, **more)


def _edited(*paths: str) -> Callable[[Recorded, int], str]:
    changes = [FileChange(path=path, change="modified", added=4, deleted=1) for path in paths]
    body = EditFiles(
        changes=changes, attribution="command", confidence="window", chain="c" * 16, commit="d" * 40,
        before="e" * 40, root="/home/ana/shop", files=len(changes), added=4, deleted=1,
    )  # fmt: skip
    return lambda place, at: _put(place, body, at)


def _committed(subject: str, how: str = "commit") -> Callable[[Recorded, int], str]:
    body = GitCommit(old="1" * 40, new="2" * 40, how=how, branch="main", subject=subject)
    return lambda place, at: _put(place, body, at)


def _put(place: Recorded, body: Any, at: int) -> str:
    moment = START + at * SECOND
    event = Event(
        session=place.session_id, id=new_span_id(), actor="human", started_us=moment, ended_us=moment,
        status="ok", source="worktree", trusted=2, body=body,
    )  # fmt: skip
    append(place.db, [event.to_frame()])
    return event.id


EVENTS: dict[str, Callable[[Recorded, int], str]] = {
    "clone": _ran("git clone git@github.com:ana/shop.git"),
    "venv": _ran("python3 -m venv .venv && . .venv/bin/activate"),
    "requirements": _ran("pip install -r requirements.txt"),
    "psycopg": _ran(
        "pip install psycopg2",
        "Error: pg_config executable not found.\n\npg_config is required to build psycopg2 from source.\n",
        1,
    ),
    "libpq": _ran("sudo apt-get install -y libpq-dev"),
    "compose": _ran("docker compose up -d postgres redis"),
    "port": _ran(
        "uvicorn shop.main:app --port 8000",
        "ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', 8000): address already"
        " in use\n",
        1,
    ),
    "lsof": _ran("lsof -i :8000"),
    "kill": _ran("kill -9 48213"),
    "migrate": _ran("alembic upgrade head"),
    "migration_failed": _ran(
        "alembic upgrade head",
        "sqlalchemy.exc.ProgrammingError: (psycopg2.errors.DuplicateColumn) column \"discount\" of relation"
        " \"orders\" already exists\n",
        1,
    ),
    "downgrade": _ran("alembic downgrade -1"),
    "pytest": _ran("pytest -q tests/test_cart.py"),
    "pytest_failed": _ran(
        "pytest -q tests/test_checkout.py",
        "tests/test_checkout.py F\nE   AssertionError: assert Decimal('19.99') == Decimal('20.00')\n"
        "FAILED tests/test_checkout.py::test_total_is_rounded\n",
        1,
    ),
    "flaky": _noted("test_webhook is flaky: it depends on the order in which retries come back"),
    "decimal_prompt": _told("The total of an order is off by one cent. Find out why and fix it."),
    "decimal_reason": _said(
        "The prices are floats until the tax is added. I will convert them to Decimal when they are read."
    ),
    "decimal_edit": _used(
        "Edit",
        {
            "file_path": "/home/ana/shop/shop/pricing.py",
            "old_string": "return float(row['price'])",
            "new_string": "return Decimal(row['price']).quantize(CENT)",
        },
    ),
    "pricing_changed": _edited("shop/pricing.py", "tests/test_checkout.py"),
    "decimal_commit": _committed("Count money in Decimal, not in float"),
    "push_rejected": _ran(
        "git push origin main",
        "! [rejected]        main -> main (fetch first)\nerror: failed to push some refs\n"
        "hint: Updates were rejected because the remote contains work that you do not have locally.\n",
        1,
    ),
    "rebase": _ran("git pull --rebase origin main"),
    "conflict": _ran(
        "git rebase --continue", "CONFLICT (content): Merge conflict in shop/settings.py\n", 1
    ),
    "abort": _ran("git rebase --abort"),
    "stash": _ran("git stash push -m 'half of the coupon form'"),
    "stash_pop": _ran("git stash pop"),
    "branch": _ran("git switch -c coupon-codes"),
    "cherry": _ran("git cherry-pick 4f2a91c"),
    "reset": _ran("git reset --hard HEAD~1"),
    "no_verify": _ran("git commit --no-verify -m 'wip coupons'"),
    "coupon_prompt": _told("Add coupon codes to the checkout. A code may be used once per customer."),
    "coupon_reason": _said(
        "I add a unique index on customer and code, so that two requests cannot redeem it both."
    ),
    "coupon_write": _used(
        "Write",
        {"file_path": "/home/ana/shop/shop/coupons.py", "content": "def redeem(code, customer):\n    ..."},
    ),
    "eslint": _ran("npx eslint web/src --fix"),
    "tsc": _ran(
        "npx tsc --noEmit",
        "web/src/Cart.tsx(14,7): error TS2322: Type 'string' is not assignable to type 'number'.\n",
        2,
    ),
    "npm_ci": _ran("npm ci"),
    "peer": _ran(
        "npm install react-datepicker",
        "npm ERR! code ERESOLVE\nnpm ERR! ERESOLVE unable to resolve dependency tree\n",
        1,
    ),
    "build": _ran("npm run build"),
    "heap": _ran(
        "npm run build",
        "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory\n",
        134,
    ),
    "node_options": _ran("NODE_OPTIONS=--max-old-space-size=4096 npm run build"),
    "mypy": _ran("mypy shop", "shop/coupons.py:12: error: Missing return statement\n", 1),
    "ruff": _ran("ruff format . && ruff check --fix ."),
    "grep": _ran("rg -in 'todo|fixme' shop"),
    "curl": _ran(
        "curl -i http://localhost:8000/api/orders",
        "HTTP/1.1 401 Unauthorized\n{\"detail\":\"Not authenticated\"}\n",
    ),
    "token": _ran("curl -s -X POST http://localhost:8000/login -d 'user=ana&password=[redacted]'"),
    "login_prompt": _told("People are logged out after five minutes. Sessions should last a week."),
    "login_edit": _used(
        "Edit",
        {
            "file_path": "/home/ana/shop/shop/auth/session.py",
            "old_string": "SESSION_SECONDS = 300",
            "new_string": "SESSION_SECONDS = 7 * 24 * 3600",
        },
    ),
    "query_slow": _noted("the order list takes 4 s: it asks the database once for each line item (N+1)"),
    "explain": _ran("psql shop -c 'EXPLAIN ANALYZE SELECT * FROM orders WHERE customer_id = 7'"),
    "index_reason": _said(
        "The orders are scanned one by one. An index over customer_id and created_at will help."
    ),
    "pg_dump": _ran("pg_dump -Fc shop > shop-2026-11-21.dump"),
    "drop": _ran("psql shop -c 'DROP TABLE carts_old'"),
    "disk": _ran(
        "docker build -t shop:latest .",
        "failed to copy files: write /app/node_modules: no space left on device\n",
        1,
    ),
    "prune": _ran("docker system prune -af"),
    "deploy": _ran("kubectl apply -f k8s/shop.yaml"),
    "crashloop": _ran("kubectl logs deploy/shop --previous", "KeyError: 'STRIPE_SECRET'\n", 1),
    "rollback": _ran("kubectl rollout undo deployment/shop"),
    "chmod": _ran("./scripts/release.sh", "bash: ./scripts/release.sh: Permission denied\n", 126),
    "search_mcp": _used("mcp__github__search_issues", {"query": "repo:ana/shop webhook retries is:open"}),
    "denied_tool": _used(
        "Bash", "rm -rf /home/ana/shop/uploads", status="failed", result="The user refused this command."
    ),
}  # fmt: skip

QUESTIONS: list[tuple[str, str]] = [
    ("where did I download the repository from", "clone"),
    ("how did I create the virtual environment", "venv"),
    ("which command installs the python dependencies", "requirements"),
    ("why could the postgres driver not be built", "psycopg"),
    ("which system library did I need for postgres", "libpq"),
    ("how do I start the database container", "compose"),
    ("why did the server not start, the port was taken", "port"),
    ("how did I find out which process listens on port 8000", "lsof"),
    ("what did I do to terminate the old process", "kill"),
    ("which migration error said that a column exists twice", "migration_failed"),
    ("how do I undo the last database migration", "downgrade"),
    ("running the cart tests", "pytest"),
    ("which test failed because of rounding", "pytest_failed"),
    ("which tests are unreliable", "flaky"),
    ("what was I asking about the wrong cent in totals", "decimal_prompt"),
    ("why did the agent switch from float to decimal", "decimal_reason"),
    ("which edit changed how the price is read", "decimal_edit"),
    ("which files changed together with pricing.py", "pricing_changed"),
    ("the commit about money", "decimal_commit"),
    ("why was my push refused", "push_rejected"),
    ("how did I get the changes of the others before pushing", "rebase"),
    ("which file had a merge conflict", "conflict"),
    ("how did I give up on the rebase", "abort"),
    ("where did I put the unfinished coupon form", "stash"),
    ("on which branch did I start the coupon work", "branch"),
    ("picking one commit from another branch", "cherry"),
    ("when did I throw away the last commit", "reset"),
    ("did somebody skip the git hooks", "no_verify"),
    ("what was the agent told about coupons", "coupon_prompt"),
    ("how is it prevented that a coupon is redeemed twice", "coupon_reason"),
    ("who wrote coupons.py", "coupon_write"),
    ("fixing the javascript lint errors", "eslint"),
    ("what was the typescript error in the cart", "tsc"),
    ("which npm package could not be installed because of conflicting versions", "peer"),
    ("the build ran out of memory", "heap"),
    ("how did I give node more memory", "node_options"),
    ("what did the type checker complain about in coupons", "mypy"),
    ("how was the python code formatted", "ruff"),
    ("searching for leftover todo comments", "grep"),
    ("why does the orders api answer 401", "curl"),
    ("users get logged out too early", "login_prompt"),
    ("where is the session duration set", "login_edit"),
    ("why is the list of orders slow", "query_slow"),
    ("looking at the query plan", "explain"),
    ("backup of the database", "pg_dump"),
    ("which table was deleted", "drop"),
    ("docker build failed because the disk was full", "disk"),
    ("how did I free space taken by docker images", "prune"),
    ("which secret was missing when the pod crashed", "crashloop"),
    ("which command of the agent did I not allow", "denied_tool"),
]


def record(place: Recorded) -> dict[str, str]:
    """Put all of it into a session; the ids of the events by their names."""
    place.session(agent="claude-code")
    return {name: put(place, 60 * at) for at, (name, put) in enumerate(EVENTS.items())}
