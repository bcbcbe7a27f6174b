//go:build unix

package main

import (
	"bytes"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// run runs a server that is expected to end by itself.
func run(t *testing.T, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := command(env, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Wait() // an exit code is what is asked for
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

func TestHelpTellsAll(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"-h", "-help", "--help"} {
		stdout, stderr, code := run(t, nil, flag)
		if code != 0 {
			t.Errorf("%s: exit code %d", flag, code)
		}
		help := stdout + stderr
		for name, variable := range allFlags {
			for _, want := range []string{"  -" + name + " ", "[" + variable + "]"} {
				if !strings.Contains(help, want) {
					t.Errorf("%s: no %q", flag, want)
				}
			}
		}
		if strings.Count(help, "\n  -") != len(allFlags) {
			t.Errorf("%s: more flags than are tested here:\n%s", flag, help)
		}
	}
}

func TestHelpNamesEachEndpoint(t *testing.T) {
	t.Parallel()
	stdout, stderr, _ := run(t, nil, "-h")
	for _, path := range []string{
		"/hello", "/test", "/end", "/slow", "/echo", "/stream", "/events", "/ws", "/panic", "/conns", "/livez", "/readyz",
	} {
		if !strings.Contains(stdout+stderr, path) {
			t.Errorf("no %s", path)
		}
	}
}

func TestEnvironmentSetsOptions(t *testing.T) {
	t.Parallel()
	p := launch(t, []string{"ADDR=127.0.0.1:0", "LOG=json", "MODE=once"})
	p.network, p.addr = "tcp", p.await("listening").Addr
	p.dial().wantLast("/hello", http.StatusOK, greeting)
	p.dial().wantLast("/end", http.StatusOK, "Closedown")
	p.wantExit(0)
}

func TestFlagsWinOverEnvironment(t *testing.T) {
	t.Parallel()
	p := launch(t, []string{"ADDR=nonsense", "LOG=off", "MODE=once"}, "-addr", "127.0.0.1:0", "-log", "json", "-mode", "busy")
	p.network, p.addr = "tcp", p.await("listening").Addr
	p.get("/hello").wantClose(t, false)
}

func TestMistakesGiveOneLineAndExitCode1(t *testing.T) {
	t.Parallel()
	cert, key, _ := certificate(t)
	for _, tt := range []struct {
		args string
		env  []string
		want []string // expressions, in the line
	}{
		{"-mode x", nil, []string{"-mode", `"x"`}},
		{"-log x", nil, []string{"-log", `"x"`}},
		{"", []string{"MODE=x"}, []string{`"x"`, "busy"}},
		{"", []string{"IDLE_TIMEOUT=abc"}, []string{"IDLE_TIMEOUT", "abc"}},
		{"-idle-timeout abc", nil, []string{"-idle-timeout", "abc"}},
		{"-bogus", nil, []string{"-bogus"}},
		{"-idle-timeout -1s", nil, []string{"idle-?timeout", "-1s", "negative"}},
		{"-shutdown-delay -1s", nil, []string{"shutdown-?delay", "-1s", "negative"}},
		{"-last-call -1s", nil, []string{"last-?call", "-1s", "negative"}},
		{"-last-call -1s -mode idle", nil, []string{"last-?call", "-1s", "negative"}},
		{"-drain-timeout -1s", nil, []string{"drain-?timeout", "-1s", "negative"}},
		{"-abort-timeout -1s", nil, []string{"abort-?timeout", "-1s", "negative"}},
		{"", []string{"DRAIN_TIMEOUT=-1s"}, []string{"drain[-_]?timeout", "-1s", "negative"}},
		{"one more", nil, []string{"unexpected", "one", "more"}},
		{"-cert /nope -key " + key, nil, []string{"/nope", "no such file"}},
		{"-cert " + cert + " -key /nope", nil, []string{"/nope", "no such file"}},
		{"-cert " + cert, nil, []string{"TLS", cert}},
		{"-cert " + key + " -key " + cert, nil, []string{"TLS", key}},
		{"-addr nonsense", nil, []string{"nonsense", "port"}},
		{"-addr 127.0.0.1:99999", nil, []string{"99999"}},
		{"-addr=", nil, []string{"nowhere to listen"}},
		{"-mode idle -idle-timeout 0 -drain-timeout 0", nil, []string{"never end"}},
		{"-termination-grace-period 5s -shutdown-delay 5s", nil, []string{"TerminationGracePeriod.5s", "no time to drain"}},
	} {
		t.Run(tt.args+strings.Join(tt.env, " "), func(t *testing.T) {
			env := append(slices.Clone(tt.env), "ADDR=192.0.2.1:1") // fails too, but later, and with more lines
			stdout, stderr, code := run(t, env, strings.Fields(tt.args)...)
			if code != 1 || stdout != "" {
				t.Errorf("exit code %d, stdout %q", code, stdout)
			}
			if !strings.HasPrefix(stderr, "server: ") || strings.Index(stderr, "\n") != len(stderr)-1 {
				t.Errorf("stderr is not one line: %q", stderr)
			}
			for _, want := range tt.want {
				if !regexp.MustCompile("(?i)" + want).MatchString(stderr) {
					t.Errorf("stderr has no %q: %q", want, stderr)
				}
			}
		})
	}
}

// What only the system knows to be wrong is in the log, with the life that ended
// before it began.
func TestForeignAddressFailsTheStart(t *testing.T) {
	t.Parallel()
	p := launch(t, nil, "-addr", "192.0.2.1:80", "-log", "json")
	p.wantStartFailure("192.0.2.1", "cannot assign")
}

func (p *process) wantStartFailure(words ...string) {
	p.t.Helper()
	p.wantExit(1)
	r := p.report()
	if *r.ExitCode != 1 || r.Cause != "start failed" {
		p.t.Errorf("report %+v", r)
	}
	for _, want := range words {
		if !strings.Contains(r.Error, want) {
			p.t.Errorf("error %q has no %q", r.Error, want)
		}
	}
}

// Whoever turns the log off still wants to know why there is no server.
func TestStartFailureIsToldThoughTheLogIsOff(t *testing.T) {
	t.Parallel()
	_, stderr, code := run(t, nil, "-addr", "192.0.2.1:80", "-log", "off")
	if code != 1 || !strings.Contains(stderr, "192.0.2.1") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
}
