# make shell < examples/session.sh
# Every line below becomes a recorded command; then look at them: .venv/bin/devtrace show
pwd
for word in a session in four commands; do printf '%s ' "$word"; done; echo
ls no-such-file
(exit 3)
false | true
echo "the last status is 0"
