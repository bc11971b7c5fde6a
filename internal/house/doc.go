// Package house holds the rules of this code base that a compiler does not check, as tests: who may
// import whom, who may start processes, that every package says what it is for, that files stay
// readable. It has no code of its own and is imported by nobody.
package house
