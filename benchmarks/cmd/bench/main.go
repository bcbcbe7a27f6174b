// Bench measures lastcall beside its peers; see ../../README.md. It is run from
// the directory benchmarks, as make bench and make bench-full do.
package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == loadCommand {
		exitOn(generate(os.Args[2]))
		return
	}
	var p plan
	var names, run, skip string
	flag.StringVar(&run, "run", "", "measure only the workloads that match the `regexp`; -list lists them")
	flag.StringVar(&skip, "skip", "^$", "but none that match this `regexp`")
	flag.StringVar(&names, "contenders", strings.Join(contenderNames(), ","), "`names` of the servers")
	flag.IntVar(&p.Rounds, "rounds", 8, "slots of each contender under each workload")
	flag.DurationVar(&p.Slot, "slot", 200*time.Millisecond, "`time` of a slot")
	flag.BoolVar(&p.pin, "pin", true, "pin servers and load to different CPUs")
	flag.StringVar(&p.load, "load", "", "`wrk` or go; the default is wrk where it is installed")
	flag.StringVar(&p.out, "out", "results", "`directory` of what is written")
	list := flag.Bool("list", false, "list the workloads, and stop")
	flag.Parse()

	var err error
	p.run, err = regexp.Compile(run)
	exitOn(err)
	p.skip, err = regexp.Compile(skip)
	exitOn(err)
	if *list {
		for _, name := range workloadNames() {
			if p.wants(name) {
				fmt.Println(name)
			}
		}
		return
	}
	p.contenders, err = selectContenders(strings.Split(names, ","))
	exitOn(err)
	exitOn(p.measure())
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// progress tells the user that something happens.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}
