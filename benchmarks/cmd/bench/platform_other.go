//go:build !linux

package main

import (
	"errors"
	"os/exec"
	"syscall"
	"time"
)

var errLinux = errors.New("the benchmarks need Linux; those in request_test.go do not")

const cpuClock = ""

type split struct{ Server, Load []int }

func cpuTime(int) (time.Duration, error)                  { return 0, errLinux }
func residentMemory(int) (int64, error)                   { return 0, errLinux }
func raiseDescriptorLimit(int) (int, error)               { return 0, errLinux }
func splitCPUs() (split, error)                           { return split{}, errLinux }
func pinSelf([]int) error                                 { return errLinux }
func startOn(*exec.Cmd, []int) error                      { return errLinux }
func portAtConnect(string, string, syscall.RawConn) error { return errLinux }

func kernel() string   { return "" }
func cpuModel() string { return "" }
