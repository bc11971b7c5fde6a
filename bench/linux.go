package main

import "syscall"

// dieWithParent ends a helper process with the program that started it.
var dieWithParent = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
