package cli

import (
	"fmt"
	"strconv"
	"time"
)

// duration is a time on the command line: a number with its unit, or of seconds.
type duration time.Duration

// String is the time as it is typed.
func (d *duration) String() string { return time.Duration(*d).String() }

// Type is what stands for it in the help.
func (d *duration) Type() string { return "duration" }

// Set takes what was typed.
func (d *duration) Set(text string) error {
	parsed, err := parseDuration(text)
	if err == nil && parsed < 0 {
		err = fmt.Errorf("%s is before now", quoted(text))
	}
	if err != nil {
		return err
	}
	*d = duration(parsed)
	return nil
}

// parseDuration reads a time as in 500ms, 5s, 1m30s, or 5, which is in seconds.
func parseDuration(text string) (time.Duration, error) {
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(n) * time.Second, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%s is not a time: give a number with ms, s, m or h, as in 5s", quoted(text))
	}
	return d, nil
}
