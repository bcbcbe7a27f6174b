//go:build !unix

package toolkit

import "os"

func columns(*os.File) int { return 0 }
