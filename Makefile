# Every target does its own set-up and is quick the second time.
.PHONY: setup demo check test bench prove
setup:      ; @scripts/setup run
demo:       ; @scripts/setup run && exec .venv/bin/headwater demo $(ARGS)
check:      ; @scripts/setup dev && scripts/check
test:       ; @scripts/setup dev && scripts/test $(ARGS)
bench:      ; @scripts/setup dev >&2 && exec .venv/bin/python -m tests.bench $(ARGS)
prove:      ; @scripts/setup dev && exec scripts/prove $(ARGS)
