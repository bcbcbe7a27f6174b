//go:build unix

// Package docs tests the documentation: every block of Go in it compiles, and every
// program among them is run and drained; blocks of other languages are excerpts of files
// that have tests of their own; commands name what there is; links lead somewhere.
package docs

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/lifecycle/rehearsal"
)

// block is one of code, with its language and where it begins.
type block struct {
	file, language string
	line           int
	code           string
}

func (b block) name() string {
	return fmt.Sprintf("%s_%d", strings.TrimSuffix(filepath.Base(b.file), ".md"), b.line)
}

// pages are what people read.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range []string{"../*.md", "../docs/*.md", "../benchmarks/*.md", "../examples/*/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			all[file] = string(text)
		}
	}
	return all
}

func blocks(t *testing.T) (all []block) {
	t.Helper()
	for file, text := range pages(t) {
		var b *block
		for i, line := range strings.Split(text, "\n") {
			switch language, fence := strings.CutPrefix(line, "```"); {
			case b == nil && fence:
				b = &block{file: file, language: language, line: i + 1}
			case b != nil && line == "```":
				all = append(all, *b)
				b = nil
			case b != nil:
				b.code += line + "\n"
			}
		}
		if b != nil {
			t.Errorf("%s:%d: a block without an end", file, b.line)
		}
	}
	return all
}

// imports are the packages that blocks use without an import.
var imports = map[string]string{
	"bufio": "bufio", "context": "context", "errors": "errors", "expvar": "expvar", "fmt": "fmt", "http": "net/http", "log": "log", "net": "net", "os": "os",
	"sql": "database/sql", "strings": "strings", "sync": "sync", "testing": "testing", "time": "time", "tls": "crypto/tls", "signal": "os/signal", "syscall": "syscall",
	"fasthttp":  "github.com/valyala/fasthttp",
	"zerolog":   "github.com/rs/zerolog",
	"lifecycle": "github.com/lastcall-go/lastcall/lifecycle",
	"rehearsal": "github.com/lastcall-go/lastcall/lifecycle/rehearsal",
	"toolkit":   "github.com/lastcall-go/lastcall/toolkit",
	"nethttp":   "github.com/lastcall-go/lastcall/toolkit/nethttp",
	"debug":     "github.com/lastcall-go/lastcall/toolkit/debug",
	"metrics":   "github.com/lastcall-go/lastcall/toolkit/metrics",
	"otel":      "github.com/lastcall-go/lastcall/toolkit/otel",
	"profile":   "github.com/lastcall-go/lastcall/toolkit/profile",
	"vars":      "github.com/lastcall-go/lastcall/toolkit/vars",
	"noop":      "go.opentelemetry.io/otel/trace/noop",
	"fiber":     "github.com/gofiber/fiber/v3",
}

// given is what blocks speak of, and readers have of their own.
var given = map[string]string{
	"app":      "var app = http.NewServeMux()",
	"mux":      "var mux = http.NewServeMux()",
	"yours":    "var yours = &fasthttp.Server{Handler: func(*fasthttp.RequestCtx) {}}",
	"hello":    "func hello(ctx *fasthttp.RequestCtx) { ctx.SetBodyString(\"hello\") }",
	"provider": "var provider = noop.NewTracerProvider()",
	"hot":      "func hot(ctx *fasthttp.RequestCtx) { ctx.SetBodyString(\"hot\") }",
	"db":       "var db database\ntype database struct{}\nfunc (database) PingContext(context.Context) error { return nil }\nfunc (database) Close() error { return nil }",
}

var isDecl = regexp.MustCompile(`(?m)^(func|type|var|const) `)

// source makes a file of a block, which is one already, or declarations, or statements.
func (b block) source() string {
	code := b.code
	if strings.HasPrefix(code, "package ") {
		return code
	}
	if !isDecl.MatchString(code) {
		code = "func main() {\n" + code + "}\n"
	} else if !strings.Contains(code, "func main()") {
		code += "func main() {}\n"
	}
	for name, decl := range given {
		if !slices.Contains(declared(code), name) && slices.Contains(used(code), name) {
			code += decl + "\n"
		}
	}
	head := "package main\n"
	for _, name := range used(code) {
		if path, ok := imports[name]; ok && strings.Contains(code, name+".") {
			head += fmt.Sprintf("import %q\n", path)
		}
	}
	return head + code
}

// used are the names that are not defined in code.
func used(code string) (names []string) {
	file, _ := parser.ParseFile(token.NewFileSet(), "", "package main\n"+code, parser.SkipObjectResolution)
	ast.Inspect(file, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && !slices.Contains(names, id.Name) {
			names = append(names, id.Name)
		}
		return true
	})
	return names
}

// declared are the names at code's top level, and those of parameters and variables.
func declared(code string) (names []string) {
	file, _ := parser.ParseFile(token.NewFileSet(), "", "package main\n"+code, parser.SkipObjectResolution)
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			names = append(names, n.Name.Name)
		case *ast.Field:
			for _, id := range n.Names {
				names = append(names, id.Name)
			}
		case *ast.ValueSpec:
			for _, id := range n.Names {
				names = append(names, id.Name)
			}
		case *ast.AssignStmt:
			for _, x := range n.Lhs {
				if id, ok := x.(*ast.Ident); ok && n.Tok == token.DEFINE {
					names = append(names, id.Name)
				}
			}
		}
		return true
	})
	return names
}

// listenAddr is where programs listen: a port that is free when they are started, not when
// they are built.
const listenAddr = `package main
import "os"
func listenAddr() string { return os.Getenv("LISTEN_ADDR") }
`

func TestBlocks(t *testing.T) {
	all := slices.DeleteFunc(blocks(t), func(b block) bool { return b.language != "go" })
	if len(all) < 10 {
		t.Fatalf("%d blocks were found", len(all))
	}
	// By module: all folders, and those of servers; and the blocks' names by folder.
	folders, programs, names := map[string][]string{}, map[string][]string{}, map[string]string{}
	for _, b := range all {
		module := "."
		if strings.Contains(b.code, "fiber.") {
			module = "../benchmarks" // which is the one that has it
		}
		path := newFolder(t, module)
		folder := "./" + filepath.Base(path)
		names[folder] = b.name()
		folders[module] = append(folders[module], folder)
		source := b.source()
		at := strings.ReplaceAll(source, `":8080"`, "listenAddr()")
		for name, text := range map[string]string{b.name() + ".go": at, "addr.go": listenAddr} {
			if err := os.WriteFile(filepath.Join(path, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if at != source && strings.Contains(source, "func main() {\n") && !strings.Contains(source, "func main() {}") {
			programs[module] = append(programs[module], folder)
		}
	}
	for module, folders := range folders {
		run(t, module, append([]string{"vet"}, folders...)...) // as the compiler does, without linking thirty programs
	}
	binaries := t.TempDir()
	for module, folders := range programs { // at once: the linker has one thread for most of its time
		run(t, module, append([]string{"build", "-ldflags=-s -w", "-o", binaries}, folders...)...)
		for _, folder := range folders {
			t.Run(names[folder], func(t *testing.T) {
				t.Parallel() // some wait for seconds in their drain
				drain(t, filepath.Join(binaries, filepath.Base(folder)))
			})
		}
	}
}

// newFolder makes a package's in a module, which no pattern of packages finds.
func newFolder(t *testing.T, module string) string {
	t.Helper()
	path, err := os.MkdirTemp(module, "_block")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(path) })
	return path
}

// run runs the go command.
func run(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// drain runs a server until it is ready, and ends it.
func drain(t *testing.T, program string) {
	t.Helper()
	addr, err := rehearsal.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append(os.Environ(), "LISTEN_ADDR="+addr)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	for {
		resp, err := http.Get("http://" + addr + "/") // an answer says that signals are heeded, too
		if err == nil {
			_ = resp.Body.Close()
			break
		}
		select {
		case err := <-exited:
			t.Fatalf("%v\n%s", err, output.Bytes())
		case <-time.After(5 * time.Millisecond):
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-exited; err != nil {
		t.Errorf("%v\n%s", err, output.Bytes())
	}
}
