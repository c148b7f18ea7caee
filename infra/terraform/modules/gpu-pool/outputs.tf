output "group" {
  description = "Of which the desired capacity is moved."
  value       = aws_autoscaling_group.this.name
}
