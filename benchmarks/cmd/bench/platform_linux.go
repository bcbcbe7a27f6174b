package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cpuClock says how cpuTime knows.
const cpuClock = "clock_gettime of the process's CPU-time clock (user and system, all threads, nanoseconds)"

// cpuTime is the user and system time that a process has used. The clock is what
// clock_getcpuclockid(3) names. Unlike /proc/PID/stat it does not count in ticks
// of 10 ms, and unlike schedstat it includes threads that run just now or have
// ended.
func cpuTime(pid int) (time.Duration, error) {
	const cpuclockSched = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|cpuclockSched, &ts); err != nil { //nolint:gosec // a pid has 22 bits
		return 0, os.NewSyscallError("clock_gettime", err)
	}
	return time.Duration(ts.Nano()), nil
}

// residentMemory is a process's, in bytes. The figure in /proc/PID/statm is
// cheaper, and off by what each CPU has not accounted for yet.
func residentMemory(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(b) {
		var kb int64
		if n, _ := fmt.Sscanf(string(line), "Rss: %d kB", &kb); n == 1 {
			return kb << 10, nil
		}
	}
	return 0, errors.New("smaps_rollup has no Rss")
}

// raiseDescriptorLimit raises it, for this process and those that it starts, to
// want, or to as much as is allowed, which it returns.
func raiseDescriptorLimit(want int) (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	if limit.Max < uint64(want) { //nolint:gosec // not negative
		higher := syscall.Rlimit{Cur: uint64(want), Max: uint64(want)} //nolint:gosec // as above
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &higher) == nil {  // root may
			return want, nil
		}
	}
	limit.Cur = limit.Max
	// syscall's, not x/sys/unix's, has the runtime pass it on to child processes.
	return int(min(limit.Cur, uint64(want))), syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) //nolint:gosec // fits
}

// portAtConnect has a socket that is bound to an address choose its port when it
// connects, and the peer is known. At the bind, each takes milliseconds once a few
// thousand ports are taken.
func portAtConnect(_, _ string, c syscall.RawConn) error {
	var err error
	return errors.Join(c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	}), err)
}

// split is who runs where; empty lists are no pinning.
type split struct {
	Server []int `json:"server_cpus"`
	Load   []int `json:"load_cpus"`
}

// splitCPUs gives half of the CPUs to the server, and half to the load. Threads of
// one core stay on one side.
func splitCPUs() (split, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return split{}, os.NewSyscallError("sched_getaffinity", err)
	}
	var cpus []int
	for cpu := range len(set) * 64 {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	if len(cpus) < 2 {
		return split{}, errors.New("there is one CPU: server and load cannot be pinned apart; use -pin=false")
	}
	slices.SortStableFunc(cpus, func(a, b int) int { return slices.Compare(core(a), core(b)) })
	half := len(cpus) / 2
	return split{Server: cpus[:half], Load: cpus[half:]}, nil
}

// core is a CPU's package and the core in it.
func core(cpu int) (ids []int) {
	for _, file := range []string{"physical_package_id", "core_id"} {
		b, _ := os.ReadFile(fmt.Sprintf("/sys/devices/system/cpu/cpu%d/topology/%s", cpu, file)) // or else 0
		id, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		ids = append(ids, id)
	}
	return ids
}

func cpuSet(cpus []int) *unix.CPUSet {
	var set unix.CPUSet
	for _, cpu := range cpus {
		set.Set(cpu)
	}
	return &set
}

// pinSelf pins all threads of this process; those to come inherit it.
func pinSelf(cpus []int) error {
	tasks, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		return err
	}
	for _, task := range tasks {
		tid, err := strconv.Atoi(filepath.Base(task))
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(tid, cpuSet(cpus)); err != nil && !errors.Is(err, unix.ESRCH) {
			return os.NewSyscallError("sched_setaffinity", err)
		}
	}
	runtime.GOMAXPROCS(len(cpus))
	return nil
}

// startOn starts a process that is pinned from its first instruction on, as it
// inherits the affinity of the thread that starts it. It does not outlive us.
func startOn(cmd *exec.Cmd, cpus []int) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if len(cpus) == 0 {
		return cmd.Start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var own unix.CPUSet
	if err := unix.SchedGetaffinity(0, &own); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	if err := unix.SchedSetaffinity(0, cpuSet(cpus)); err != nil {
		return os.NewSyscallError("sched_setaffinity", err)
	}
	err := cmd.Start()
	return errors.Join(err, unix.SchedSetaffinity(0, &own))
}

func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return "Linux " + unix.ByteSliceToString(u.Release[:])
}

func cpuModel() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
