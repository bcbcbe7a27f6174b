package examples

import (
	"os"
	"os/exec"
	"syscall"
)

// empty has cmd run in root and in a PID namespace of its own, if that is allowed.
func empty(cmd *exec.Cmd, root string) bool {
	if os.Geteuid() != 0 {
		return false
	}
	cmd.Path, cmd.Dir = cmd.Args[0], "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Cloneflags: syscall.CLONE_NEWPID}
	return true
}
