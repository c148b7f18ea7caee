output "id" {
  description = "Of the instance."
  value       = aws_instance.this.id
}

output "address" {
  description = "Where ssh reaches it."
  value       = aws_instance.this.public_ip
}
