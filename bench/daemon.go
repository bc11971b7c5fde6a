package main

import (
	"fmt"
	"os"
	"time"
)

// benchDaemon prints what the process itself costs: its size, its start, its memory when idle.
func benchDaemon() error {
	var first sample
	var rss []int
	for range *rounds {
		d, err := startServer()
		if err != nil {
			return err
		}
		first = append(first, d.first)
		time.Sleep(300 * time.Millisecond)
		rss = append(rss, d.memory("VmRSS"))
		d.stop()
	}
	file, err := os.Stat(*server)
	if err != nil {
		return err
	}
	size, idle := float64(file.Size())/(1<<20), float64(rss[len(rss)/2])/1024
	fmt.Printf("  %-34s %v (%s)  bar 25ms %s\n", "exec to first answer", round(first.median()), first.spread(), verdict(first.median() <= 25*time.Millisecond))
	fmt.Printf("  %-34s %.1f MiB  bar 16 %s\n", "idle RSS", idle, verdict(idle <= 16))
	fmt.Printf("  %-34s %.1f MiB  bar 20 %s\n", "binary", size, verdict(size <= 20))
	return nil
}
