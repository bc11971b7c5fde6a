package hang

import "fmt"

// String lists the keys in use.
func (g *Group[K]) String() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := ""
	for k, l := range g.lanes {
		s += fmt.Sprintf("%v:%+v ", k, *l)
	}
	return s
}
